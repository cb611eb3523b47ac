"""The second search on FER2013: trials of a recipe on three divisions of Training, and the final runs on all of it.

    python examples/studies/second_search.py --data-path fer2013.csv --out search                # the first round
    python examples/studies/second_search.py --data-path fer2013.csv --out search --cases '*'    # all 69 trials
    python examples/studies/second_search.py --data-path fer2013.csv --out search --final --cases control,hsic
    python examples/studies/second_search.py --table                                             # of what is done

The first round is five cases, fixed before any was run, on three divisions. The network has half the width of the
recipes', a quarter of their multiplications, and trials are in float32, since most CPUs emulate the recipes' bf16. On
one thread of an EPYC with AVX2 a step of the control takes 1.0 second so, and 4.4 at full width.

A trial trains on nine tenths of Training and is scored on the rest, held out by ``holdout_seed`` 0, 1 and 2; PublicTest
is not read. The control has half the epochs of its recipe, and all trials have its time: the step of each is timed
beside the control's, and the first phase has as many epochs as fit. Repeat the command to go on where it stopped.

A trial that is done has a record, a file of some kilobytes with its settings, what it cost, and for each held-out image
the cross-entropy and whether it is classified correctly. What has a record is not done again, so that a search may be
continued on another machine: commit the records.

A difference to a reference is a mean over all held-out images of the three divisions, with the 95 % interval of a
paired bootstrap. It is kept if its interval excludes 0 in accuracy or in cross-entropy.

A final run (``--final``) trains on all of Training for the recipe's whole length, twice a trial's, with seeds 0, 1 and
2, and is scored on PublicTest. Its differences are means over the seeds, with the interval of a bootstrap over images.
On another network and data set, ``--ground``, a trial is scored on the valid split, and has a seed for a division.
With ``--weights FOLDER`` the weights of seed 0 are written there in half precision, and scored beside the run's.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch.nn import functional

import localrules
from localrules.config.overrides import merge, nest
from localrules.config.settings import Settings
from localrules.engine.builder import load_run_dataset
from localrules.engine.resolve import resolve_run
from localrules.registry.registry import Registry
from localrules.reproduce.league.cost import cost_of
from localrules.runs.load import TrainedRun

STUDIES = Path(__file__).parent
NUMBERS = (0, 1, 2)  # of divisions and seeds
HELD_OUT = 0.1
TOGETHER, READOUT = 5.5, 4.0  # epochs of the control's phases: half of the recipe's
RESAMPLES = 10_000
RECORDS = STUDIES.parents[1] / "docs" / "research" / "second_search"


@dataclass(frozen=True)
class Ground:
    """A network and a data set.

    Attributes:
        data: The name of the data set.
        model: The name of the network.
        options: Options of the network; those of the recipes are for theirs.
        held_out: Whether trials are scored on divisions of Training; else on the valid split, with as many seeds.
        levels: The granularity of levels.
    """

    data: str
    model: str
    options: Mapping[str, Any]
    held_out: bool = False
    levels: str | int = "block"


FER2013 = "fer2013"
GROUNDS = {
    FER2013: Ground("fer2013", "dense_fpn", {"growth": 16, "stem": 16, "lateral": 32}, held_out=True),
    "cifar10-resnet32": Ground("cifar10", "resnet32", {}, levels=3),
    "cifar10-vgg8b": Ground("cifar10", "vgg8b", {"width": 0.25}, levels=3),
}
"""The recipes' own at half the width, and others to see whether what wins there wins here, too. Networks that have no
pyramid are cut into three parts of similar cost: as many as the pyramid has levels."""

HSIC: dict[str, Any] = {"rule.name": "searched"}
AVERAGED: dict[str, Any] = {"ema_decay": 0.995, "schedule.end": 0.1}  # a rate of 0 at the end leaves nothing to average
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "control": ("fer_backprop", {}),
    "hsic": ("fer_hsic", {}),
    "hsic-shorter": ("fer_hsic", {}),
    "hsic-small-heads": ("fer_hsic", {"rule.channels": 32, "rule.hidden": 64, "rule.projection": 32}),
    "hsic-levels": ("fer_hsic_block", {}),
    "hsic-levels-ce": ("fer_hsic_block", {"rule.ce": 0.3}),
    "hsic-levels-window-2": ("fer_hsic_block", {"granularity": "window:2:block"}),
    "hsic-head-4": ("fer_hsic", {**HSIC, "rule.depth": 4}),
    "hsic-head-6-first": ("fer_hsic", {**HSIC, "rule.depth": 6, "rule.reach": 0.25}),
    "hsic-head-4-next": ("fer_hsic", {**HSIC, "rule.depth": 4, "rule.pick": "next"}),
    "hsic-window-2": ("fer_hsic", {"granularity": "window:2"}),
    "hsic-reconciled": ("fer_hsic", {"rule": {"name": "searched-sgr", "weight": 0.1, "channels": 64}}),
    "hsic-patches": ("fer_hsic", {**HSIC, "rule.patches": 2}),
    "hsic-softened": ("fer_hsic", {**HSIC, "rule.soften": 0.3}),
    "control-smoothed": ("fer_backprop", {"targets.label_smoothing": 0.1}),
    "hsic-erased": ("fer_hsic", {"augment.erase_size": 0.3}),
    "control-erased": ("fer_backprop", {"augment.erase_size": 0.3}),
    "hsic-mixed": ("fer_hsic", {"targets.mixup": 0.2}),
    "control-mixed": ("fer_backprop", {"targets.mixup": 0.2}),
    "hsic-batch-256": ("fer_hsic", {"batch_size": 256, "optimizer.lr": 0.0085}),
    "control-batch-256": ("fer_backprop", {"batch_size": 256, "optimizer.lr": 0.0085}),
    "hsic-averaged": ("fer_hsic", AVERAGED),
    "control-averaged": ("fer_backprop", AVERAGED),
}
"""Each trial's recipe, and what it changes. The control gets each gain that it can use. Four were added
after the first round: ``hsic-small-heads`` halves the networks beside the layers, too; two build on levels, the one
change that was kept; and ``hsic-shorter`` has the length of the cases in ``AS_LONG_AS``."""

UNCHANGED = {"fer_backprop": "control", "fer_hsic": "hsic", "fer_hsic_block": "hsic-levels"}
"""The case of each recipe that changes nothing."""

OF_THE_STEP = ("rule", "granularity", "batch_size")
"""Sections of the settings that change the arithmetic of a step."""

RATIOS = {"control": 1.0, "hsic-shorter": 1.27}
"""Ratios that are not measured."""

AS_LONG_AS = {"hsic-softened": "hsic-shorter", "hsic-erased": "hsic-shorter"}
"""Cases whose step was timed beside the control's on an Intel Xeon, where that of ``hsic`` takes 1.27 of the control's
and not 1.14: they had fewer epochs than ``hsic``, so another run of the recipe, as long as theirs, is their
reference."""

FIRST_ROUND = ("control", "hsic", "hsic-head-4", "hsic-window-2", "hsic-patches")


@dataclass(frozen=True)
class Trial:
    """A trial, or a final run.

    Attributes:
        case: A key of ``CASES``.
        number: Of the division; of a final run, or where trials are scored on the valid split, the seed.
        final: Whether it is a final run.
        ground: A key of ``GROUNDS``.
    """

    case: str
    number: int
    final: bool = False
    ground: str = FER2013

    def __str__(self) -> str:
        place = "" if self.ground == FER2013 else f"{self.ground}, "
        return f"{place}{self.case}, {'division' if self.is_scored_on_a_division else 'seed'} {self.number}"

    @property
    def is_scored_on_a_division(self) -> bool:
        """Whether it is scored on what is held out from Training."""
        return GROUNDS[self.ground].held_out and not self.final

    @property
    def record(self) -> str:
        """The name of its record."""
        return f"{self._prefix}{self.case}-{self.number}.npz"

    @property
    def _prefix(self) -> str:
        return ("" if self.ground == FER2013 else f"{self.ground}-") + ("final-" if self.final else "")

    @property
    def folder(self) -> Path:
        """The folder of its runs, within that of all runs."""
        return Path(f"{self._prefix}{self.case}", str(self.number))


def settings_of(trial: Trial, data_path: str) -> Settings:
    """The settings of a trial, but for its length."""
    recipe, changes = CASES[trial.case]
    tree = tomllib.loads((STUDIES.parent / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8"))
    if isinstance(changes.get("rule"), dict):
        tree["rule"] = {}
    elif "rule.name" in changes:  # an extension of the recipe's rule, whose options stay: those of another would not
        tree["rule"]["name"] = changes["rule.name"]
    ground = GROUNDS[trial.ground]
    if tree["model"]["name"] != ground.model:
        tree["model"] = {"name": ground.model}
    if tree.get("granularity") == "block":
        tree["granularity"] = ground.levels
    tree = merge(tree, nest(changes))
    held: dict[str, Any] = {"seed": trial.number}
    if trial.is_scored_on_a_division:
        held = {"holdout_fraction": HELD_OUT, "holdout_seed": trial.number}
    held |= {"plots": False, "precision": "fp32", "model": dict(ground.options)}
    held["data"] = {"name": ground.data, "path": data_path}
    return Settings.from_tree(merge(tree, held), f"trial {trial.case}")


def step_ratio_of(trial: Trial, data_path: str, out: Path, records: Path, registry: Registry) -> float:
    """The time of a case's step to the control's: measured once, so that a case is as long on each division.

    Ratios differ from processor to processor. So a change is timed beside the recipe that it changes, and the ratio of
    that is the recorded one; what changes no arithmetic of a step has its ratio.
    """
    if trial.case in RATIOS:
        return RATIOS[trial.case]
    like = [replace(trial, number=number, final=final) for final in (False, True) for number in NUMBERS]
    for path in (records / each.record for each in like):
        if path.exists():
            return float(facts_of(path)["step_ratio"])
    recipe, changes = CASES[trial.case]
    beside = replace(trial, case="control" if trial.case == UNCHANGED[recipe] else UNCHANGED[recipe])
    ratio = step_ratio_of(beside, data_path, out, records, registry)
    if changes and not any(name.partition(".")[0] in OF_THE_STEP for name in changes):
        return ratio
    first = (replace(each, number=NUMBERS[0], final=False) for each in (trial, beside))
    run, other = (resolve_run(settings_of(each, data_path), registry) for each in first)
    assert run.data is not None
    costs = out / "costs" / f"{trial.ground} beside {beside.case}"
    return ratio * cost_of(run, other, load_run_dataset(run.config, run.data), costs).step_ratio


def train(trial: Trial, step_ratio: float, data_path: str, out: Path, registry: Registry) -> Path:
    """Train a trial, or go on with it. Returns its run folder."""
    place = out / trial.folder
    there = [folder for folder in sorted(place.glob("2*")) if (folder / "config.toml").exists()]
    if there:
        summary = there[-1] / "summary.json"
        if not summary.exists() or json.loads(summary.read_text(encoding="utf-8"))["status"] != "done":
            localrules.resume(there[-1], plugins=registry)
        return there[-1]
    tree, control = (settings_of(replace(trial, case=case), data_path).tree for case in (trial.case, "control"))
    length = 2 if trial.final else 1
    together = round(length * TOGETHER / step_ratio * tree["batch_size"] / control["batch_size"], 1)
    readout = length * READOUT
    phases = [
        {"name": "together", "train_layers": "all", "fraction": together},
        {"name": "readout", "train_layers": "readout", "fraction": readout},
    ]
    whole = merge(tree, {"phases": phases, "epochs": together + readout})
    return localrules.train(settings=whole, out=place, plugins=registry).directory


def record_of(folder: Path, step_ratio: float, registry: Registry) -> dict[str, np.ndarray]:
    """The record of a trial: ``right`` and ``loss`` of each held-out image, and ``facts`` as JSON."""
    run = TrainedRun.load(folder, registry)
    scores = run.predictor.scores(run.data().split("valid"))
    losses = functional.cross_entropy(scores.logits, scores.labels, reduction="none")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    facts = {key: summary[key] for key in ("steps", "epochs", "parameters", "peak_memory_mib", "weights_sha256")}
    facts |= {"step_ratio": step_ratio, "settings": run.config.model_dump(mode="json", exclude={"data", "threads"})}
    return {
        "right": (scores.predictions == scores.labels).numpy(),
        "loss": losses.numpy().astype(np.float16),
        "facts": np.array(json.dumps(facts)),
    }


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
    """Rows for each case that is done on all divisions: beside the recipe that it changes, and beside the control."""
    found: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    for case in CASES:
        trials = [Trial(case, number, ground=ground) for number in NUMBERS]
        parts = read_records(records, trials)
        if len(parts) < len(NUMBERS):
            continue
        # Each division holds out other images; seeds are scored on the same.
        found[case] = joined(parts) if GROUNDS[ground].held_out else mean_over(parts)
        facts = facts_of(records / trials[0].record)
        row = {
            "case": case,
            "images": len(found[case]["right"]),
            "step_ratio": facts["step_ratio"],
            "epochs": facts["epochs"],
            "memory_mib": facts["peak_memory_mib"],
            "accuracies": " ".join(f"{part['right'].mean():.3f}" for part in parts),
        }
        rows += [row | compare(found[case], case, found.get(each), each) for each in references_of(case)]
    return pd.DataFrame(rows)


def references_of(case: str) -> list[str]:
    """The cases that a case is compared with: the recipe that it changes, and the control."""
    unchanged = "hsic" if case == "hsic-levels" else UNCHANGED[CASES[case][0]]
    found = dict.fromkeys((AS_LONG_AS.get(case, unchanged), "control"))
    return [each for each in found if each != case] or ["control"]


def tabulate_final(records: Path) -> pd.DataFrame:
    """A row for each case with final runs, beside the control's of the same seeds."""
    rows = []
    for case in CASES:
        seeds = [seed for seed in NUMBERS if (records / Trial(case, seed, final=True).record).exists()]
        if not seeds:
            continue
        own, control = (
            read_records(records, [Trial(each, seed, final=True) for seed in seeds]) for each in (case, "control")
        )
        right = [part["right"].mean() for part in own]
        row = {"case": case, "seeds": len(seeds), "std": np.std(right, ddof=1) if len(seeds) > 1 else np.nan}
        other = mean_over(control) if len(control) == len(seeds) else None
        rows.append(row | compare(mean_over(own), case, other, "control"))
    return pd.DataFrame(rows)


def export_weights(cases: Sequence[str], out: Path, weights: Path, registry: Registry) -> pd.DataFrame:
    """Write the weights of each case's final run with seed 0 in half precision, and score both on PublicTest.

    Args:
        cases: Whose; with their final runs in ``out``.
        out: The folder of the runs.
        weights: Where a folder for each case goes, and ``weights.csv``; its ``NOTES.md`` goes into the model cards.
        registry: Where names are looked up.
    """
    notes = (weights / "NOTES.md").read_text(encoding="utf-8")
    rows = []
    for case in cases:
        (folder,) = (out / Trial(case, NUMBERS[0], final=True).folder).glob("2*")
        target = weights / case
        localrules.export(folder, "hub", target, half=True, notes=notes, plugins=registry)
        whole, half = (TrainedRun.load(place, registry) for place in (folder, target))
        split = whole.data().split("valid")
        first, second = (run.predictor.scores(split) for run in (whole, half))
        size = sum(path.stat().st_size for path in target.iterdir())
        changed = int((first.predictions != second.predictions).sum())
        rows.append({"case": case, "bytes": size, "accuracy": first.top1, "half": second.top1, "changed": changed})
    table = pd.DataFrame(rows)
    table.to_csv(weights / "weights.csv", index=False, float_format="%.5f")
    return table


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


def main() -> None:
    """Train what is asked for and not done, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="fer2013.csv", metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("search"), metavar="FOLDER", help="of the runs")
    parser.add_argument("--records", type=Path, default=RECORDS, metavar="FOLDER")
    parser.add_argument("--cases", default=",".join(FIRST_ROUND), metavar="A,B", help="patterns of names in CASES")
    parser.add_argument("--ground", default=FER2013, choices=GROUNDS, help="the network and the data set")
    parser.add_argument("--final", action="store_true", help="final runs in place of trials")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="where the weights of final runs are to go")
    asked = parser.parse_args()
    registry = Registry.from_plugins([STUDIES / "searched_on_fer2013.py"])
    chosen = [case for case in CASES if any(fnmatchcase(case, pattern) for pattern in asked.cases.split(","))]
    asked.records.mkdir(parents=True, exist_ok=True)
    trials = [Trial(case, number, asked.final, asked.ground) for number in NUMBERS for case in chosen]
    for trial in [] if asked.table else trials:
        path = asked.records / trial.record
        if not path.exists():
            print(trial, flush=True)
            ratio = step_ratio_of(trial, asked.data_path, asked.out, asked.records, registry)
            folder = train(trial, ratio, asked.data_path, asked.out, registry)
            part = path.with_suffix(".part.npz")
            np.savez_compressed(part, **record_of(folder, ratio, registry))
            part.replace(path)
    tables = {"trials": tabulate(asked.records), "final": tabulate_final(asked.records)}
    if asked.ground != FER2013:
        tables = {asked.ground: tabulate(asked.records, asked.ground)}
    for name, table in tables.items():
        if len(table):
            table.to_csv(asked.records / f"{name}.csv", index=False, float_format="%.5f")
            print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    if asked.final and asked.weights is not None:
        print(export_weights(chosen, asked.out, asked.weights, registry).to_string(index=False))


if __name__ == "__main__":
    main()
