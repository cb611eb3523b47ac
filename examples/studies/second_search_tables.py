"""The records of the second search on FER2013, and what they come to: second_search.py writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import second_search_cases as cases
from second_search_cases import FER2013, Trial

from localrules.utils.palette import COLOURS, MARKERS
from localrules.utils.plotting import new_figure, plain_axes, save_figure

RESAMPLES = 10_000


def read_records(records: Path, trials: Sequence[Trial]) -> list[dict[str, np.ndarray]]:
    """The records of those trials that have one."""
    paths = [records / trial.record for trial in trials]
    return [read_record(path) for path in paths if path.exists()]


def read_record(path: Path) -> dict[str, np.ndarray]:
    """``right`` and ``loss`` of each held-out image, float64."""
    with np.load(path) as found:
        return {key: found[key].astype(np.float64) for key in ("right", "loss")}


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """The mean of paired differences, and its 95 % interval by bootstrap over images."""
    random, count = np.random.default_rng(0), len(differences)
    means = [differences[random.integers(0, count, count)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def facts_of(path: Path) -> dict[str, Any]:
    """The settings and the cost of a recorded trial."""
    with np.load(path) as found:
        facts: dict[str, Any] = json.loads(str(found["facts"]))
    return facts


def tabulate(records: Path, ground: str = FER2013) -> pd.DataFrame:
    """Rows for each case that is done: beside the recipe that it changes, and beside the control.

    On divisions it is done when it has a trial of each; elsewhere when it has the seeds of the control.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    least = 0
    for case in cases.CASES:
        trials = [Trial(case, number, ground=ground) for number in cases.NUMBERS]
        parts = read_records(records, trials)
        least = least or (len(cases.NUMBERS) if cases.GROUNDS[ground].held_out else len(parts))
        if not least or len(parts) < least:
            continue
        parts = parts[:least]
        # Each division holds out other images; seeds are scored on the same.
        found[case] = joined(parts) if cases.GROUNDS[ground].held_out else mean_over(parts)
        facts = facts_of(records / trials[0].record)
        row = {
            "case": case,
            "images": len(found[case]["right"]),
            "step_ratio": facts["step_ratio"],
            "epochs": facts["epochs"],
            "memory_mib": facts["peak_memory_mib"],
            "accuracies": " ".join(f"{part['right'].mean():.3f}" for part in parts),
        }
        beside = [each for each in references_of(case) if each in found] or [case]
        rows += [row | compare(found[case], case, found[each], each) for each in beside]
    return pd.DataFrame(rows)


def references_of(case: str) -> list[str]:
    """The cases that a case is compared with: the recipe that it changes, and the control."""
    unchanged = "hsic" if case == "hsic-levels" else cases.UNCHANGED[cases.CASES[case][0]]
    found = dict.fromkeys((*cases.BESIDE.get(case, (cases.AS_LONG_AS.get(case, unchanged),)), "control"))
    return [each for each in found if each != case] or ["control"]


def tabulate_final(records: Path, twice: bool = False) -> pd.DataFrame:
    """Rows for each case with final runs: compared with those of the same seeds of each control that stands before it.

    Args:
        records: Their folder.
        twice: Of those that are twice as long.
    """
    rows = []
    controls: list[str] = []
    for case in cases.CASES:
        seeds = [seed for seed in cases.NUMBERS if (records / final_run(case, seed, twice).record).exists()]
        if not seeds:
            continue
        own, *others = (
            read_records(records, [final_run(each, seed, twice) for seed in seeds]) for each in (case, *controls)
        )
        right = [part["right"].mean() for part in own]
        facts = facts_of(records / final_run(case, seeds[0], twice).record)
        row = {"case": case, "seeds": len(seeds), "locality": facts["locality"], "step_ratio": facts["step_ratio"]}
        row |= {"epochs": facts["epochs"], "memory_mib": facts["peak_memory_mib"], "macs_10^12": facts["macs"] / 1e12}
        row |= {"accuracies": " ".join(f"{each:.3f}" for each in right)}
        row |= {"std": np.std(right, ddof=1) if len(seeds) > 1 else np.nan}
        beside = [
            (each, mean_over(found)) for each, found in zip(controls, others, strict=True) if len(found) == len(own)
        ]
        rows += [row | compare(mean_over(own), case, other, each) for each, other in beside or [(case, None)]]
        if cases.is_control(case):
            controls.append(case)
    return pd.DataFrame(rows)


def final_run(case: str, seed: int, twice: bool = False) -> Trial:
    """The final run of a case."""
    return Trial(case, seed, final=True, twice=twice)


def draw_curves(records: Path, out: Path) -> None:
    """Draw accuracy of final runs against training, in a panel for each length that there is.

    A line is the mean over seeds, a band their range. A case has one colour in both panels.
    """
    found = {
        (case, twice): [
            path for seed in cases.NUMBERS if (path := records / final_run(case, seed, twice).record).exists()
        ]
        for case in cases.CASES
        for twice in (False, True)
    }
    drawn = [case for case in cases.CASES if found[case, False] or found[case, True]]
    lengths = [twice for twice in (False, True) if any(found[case, twice] for case in drawn)]
    if not lengths:
        raise SystemExit(f"{records} has no final runs to draw")
    figure = new_figure(8 if len(lengths) == 1 else 11, 4.2)
    panels = figure.subplots(1, len(lengths), sharey=True, squeeze=False)[0]
    for axes, twice in zip(panels, lengths, strict=True):
        readout = cases.READOUT * final_run(drawn[0], 0, twice).length
        title = "Accuracy on PublicTest" + (", twice as long" if twice else "")
        plain_axes(axes, title, x=f"epochs; in the last {readout:g} the readout alone is trained")
        for index, case in enumerate(drawn):
            if not found[case, twice]:
                continue
            curves = [np.load(path)["curve"] for path in found[case, twice]]
            epochs, each = curves[0][0], np.stack([curve[1] for curve in curves])
            look: dict[str, Any] = {"color": COLOURS[index]}
            axes.fill_between(epochs, each.min(0), each.max(0), alpha=0.15, linewidth=0, **look)
            axes.plot(epochs, each.mean(0), marker=MARKERS[index], ms=3, lw=1.6, label=case, zorder=3, **look)
        axes.set_ylim(bottom=0.4)
        axes.set_xlim(left=0)
    lines = {line.get_label(): line for axes in panels for line in axes.get_lines()}
    panels[0].legend(handles=[*lines.values()], frameon=False, loc="lower right", fontsize=9)
    save_figure(figure, out)


def joined(runs: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The images of several runs, one after the other."""
    return {key: np.concatenate([run[key] for run in runs]) for key in ("right", "loss")}


def mean_over(runs: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The means of several runs, image by image."""
    return {key: np.mean([run[key] for run in runs], 0) for key in ("right", "loss")}


def compare(
    own: dict[str, np.ndarray], case: str, other: dict[str, np.ndarray] | None, reference: str
) -> dict[str, Any]:
    """Means of a case, and its differences to a reference where that is another and there."""
    row: dict[str, Any] = {key: own[key].mean() for key in ("right", "loss")}
    row["beside"] = reference
    for key in ("right", "loss"):
        if case != reference and other is not None:
            each = interval(own[key] - other[key])
            row |= dict(zip((f"{key}_difference", f"{key}_low", f"{key}_high"), each, strict=True))
    return row
