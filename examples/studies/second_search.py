"""The second search on FER2013: trials of a recipe on three divisions of Training, and the final runs on all of it.

    python examples/studies/second_search.py --data-path fer2013.csv --out search                # the first round
    python examples/studies/second_search.py --data-path fer2013.csv --out search --cases '*'    # all trials
    python examples/studies/second_search.py --data-path fer2013.csv --out search --final        # the final runs
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
With ``--seeds 1`` there is one run in place of three.
With ``--twice`` a run is twice as long. With ``--image FILE`` the curves of final runs are drawn, and with ``--weights
FOLDER`` the weights of seed 0 are written there in half precision, and scored beside the run's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import second_search_cases as cases
from second_search_cases import Trial, settings_of, whole_settings
from second_search_tables import draw_curves, facts_of, tabulate, tabulate_final
from torch.nn import functional

import localrules
from localrules.benchmark.flops import step_macs
from localrules.engine.builder import load_run_dataset
from localrules.engine.resolve import resolve_run
from localrules.registry.registry import Registry
from localrules.reproduce.league.cost import cost_of
from localrules.runs.load import TrainedRun

RECORDS = cases.STUDIES.parents[1] / "docs" / "research" / "second_search"


def step_ratio_of(trial: Trial, data_path: str, out: Path, records: Path, registry: Registry) -> float:
    """The time of a case's step to the control's: measured once, so that a case is as long on each division.

    Ratios differ from processor to processor. So a change is timed beside the recipe that it changes, and the ratio of
    that is the recorded one; what changes no arithmetic of a step has its ratio.
    """
    shorter = {*cases.AS_LONG_AS, *cases.AS_LONG_AS.values()}
    own = cases.arithmetic_of(trial.case)
    same = [case for case in cases.CASES if cases.arithmetic_of(case) == own and case not in shorter]
    for case in dict.fromkeys((trial.case, *same)):
        if case in cases.RATIOS:
            return cases.RATIOS[case]
        for twice, final, number in product((False, True), (False, True), cases.NUMBERS):
            path = records / replace(trial, case=case, number=number, final=final, twice=twice).record
            if path.exists():
                return float(facts_of(path)["step_ratio"])
    recipe, changes = cases.CASES[trial.case]
    beside = replace(trial, case="control" if trial.case == cases.UNCHANGED[recipe] else cases.UNCHANGED[recipe])
    ratio = step_ratio_of(beside, data_path, out, records, registry)
    if changes and not own[1]:
        return ratio
    first = (replace(each, number=cases.NUMBERS[0], final=False, twice=False) for each in (trial, beside))
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
    whole = whole_settings(trial, step_ratio, data_path)
    return localrules.train(settings=whole, out=place, plugins=registry).directory


def record_of(folder: Path, step_ratio: float, registry: Registry) -> dict[str, np.ndarray]:
    """The record of a trial: ``right`` and ``loss`` of each held-out image, ``curve``, and ``facts`` as JSON.

    A column of the curve is an evaluation of the run: epoch, and accuracy on the split that scored it.
    """
    run = TrainedRun.load(folder, registry)
    data = run.data()
    scores = run.predictor.scores(data.split("valid"))
    losses = functional.cross_entropy(scores.logits, scores.labels, reduction="none")
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    facts = {key: summary[key] for key in ("steps", "epochs", "parameters", "peak_memory_mib", "weights_sha256")}
    facts |= {"step_ratio": step_ratio, "settings": run.config.model_dump(mode="json", exclude={"data", "threads"})}
    facts["locality"] = summary.get("locality", {}).get("measured")
    parts = step_macs(run.config, registry, data.shape, len(data.classes), summary["steps"])
    facts["macs"] = sum(part.macs * (part.stop - part.start) for part in parts)
    evaluations = pd.read_csv(folder / "metrics.csv", usecols=["epoch", "valid_accuracy"]).dropna()
    return {
        "right": (scores.predictions == scores.labels).numpy(),
        "loss": losses.numpy().astype(np.float16),
        "curve": evaluations.to_numpy().T.astype(np.float32),
        "facts": np.array(json.dumps(facts)),
    }


def export_weights(
    chosen: Sequence[str], out: Path, weights: Path, registry: Registry, twice: bool = False
) -> pd.DataFrame:
    """Write the weights of each case's final run with seed 0 in half precision, and score both on PublicTest.

    Args:
        chosen: The cases; with their final runs in ``out``.
        out: The folder of the runs.
        weights: Where a folder for each case goes, and ``weights.csv``, whose other rows are kept; its ``NOTES.md``
            goes into the model cards.
        registry: Where names are looked up.
        twice: Whether they are of the runs of twice the length; ``twice-`` stands in front of their names.
    """
    notes = (weights / "NOTES.md").read_text(encoding="utf-8")
    rows = []
    for case in chosen:
        trial = Trial(case, cases.NUMBERS[0], final=True, twice=twice)
        (folder,) = (out / trial.folder).glob("2*")
        target = weights / trial.folder.parent.name.removeprefix("final-")
        localrules.export(folder, "hub", target, half=True, notes=notes, plugins=registry)
        whole, half = (TrainedRun.load(place, registry) for place in (folder, target))
        split = whole.data().split("valid")
        first, second = (run.predictor.scores(split) for run in (whole, half))
        size = sum(path.stat().st_size for path in target.iterdir())
        row = {"case": target.name, "bytes": size, "accuracy": first.top1, "half": second.top1}
        row["changed"] = int((first.predictions != second.predictions).sum())
        rows.append(row)
    table, path = pd.DataFrame(rows), weights / "weights.csv"
    if path.exists():
        before = pd.read_csv(path)
        table = pd.concat([before[~before["case"].isin(table["case"])], table])
    table.to_csv(path, index=False, float_format="%.5f")
    return table


def main() -> None:
    """Train what is asked for and not done, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="fer2013.csv", metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("search"), metavar="FOLDER", help="of the runs")
    parser.add_argument("--records", type=Path, default=RECORDS, metavar="FOLDER")
    parser.add_argument("--cases", metavar="A,B", help="patterns of their names")
    parser.add_argument("--ground", default=cases.FER2013, choices=cases.GROUNDS, help="the network and the data set")
    parser.add_argument("--final", action="store_true", help="final runs in place of trials")
    parser.add_argument("--seeds", type=int, default=len(cases.NUMBERS), metavar="N", help="of runs without divisions")
    parser.add_argument("--twice", action="store_true", help="of twice the length")
    parser.add_argument("--table", action="store_true", help="train nothing")
    parser.add_argument("--image", type=Path, metavar="FILE", help="where the curves of final runs are to be drawn")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="where the weights of final runs are to go")
    asked = parser.parse_args()
    patterns = asked.cases.split(",") if asked.cases else cases.FINAL if asked.final else cases.FIRST_ROUND
    chosen = [case for case in cases.CASES if any(fnmatchcase(case, pattern) for pattern in patterns)]
    extended = any("rule" in changes or "rule.name" in changes for _, changes in (cases.CASES[each] for each in chosen))
    registry = Registry.from_plugins([cases.STUDIES / "searched_on_fer2013.py"] if extended else [])
    asked.records.mkdir(parents=True, exist_ok=True)
    trials = [Trial(case, each, asked.final, asked.ground, asked.twice) for each in cases.NUMBERS for case in chosen]
    trials = [trial for trial in trials if trial.is_scored_on_a_division or trial.number < asked.seeds]
    for trial in [] if asked.table else trials:
        path = asked.records / trial.record
        if not path.exists():
            print(trial, flush=True)
            ratio = step_ratio_of(trial, asked.data_path, asked.out, asked.records, registry)
            folder = train(trial, ratio, asked.data_path, asked.out, registry)
            part = path.with_suffix(".part.npz")
            np.savez_compressed(part, **record_of(folder, ratio, registry))
            part.replace(path)
    tables = {"trials" if asked.ground == cases.FER2013 else asked.ground: tabulate(asked.records, asked.ground)}
    if asked.ground == cases.FER2013:
        for name, twice in (("final", False), ("final-twice", True)):
            tables[name] = tabulate_final(asked.records, twice)
    for name, table in tables.items():
        if len(table):
            table.to_csv(asked.records / f"{name}.csv", index=False, float_format="%.5f")
            print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
    if asked.image is not None:
        draw_curves(asked.records, asked.image)
    if asked.final and asked.weights is not None:
        print(export_weights(chosen, asked.out, asked.weights, registry, asked.twice).to_string(index=False))


if __name__ == "__main__":
    main()
