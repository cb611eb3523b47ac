"""The second search on FER2013: trials of a recipe on three divisions of Training, beside the control.

    python examples/studies/second_search.py --data-path fer2013.csv --out search                # the first round
    python examples/studies/second_search.py --data-path fer2013.csv --out search --cases '*'    # all 51 trials
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
"""

from __future__ import annotations

import argparse
import json
import tomllib
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
DIVISIONS = (0, 1, 2)
HELD_OUT = 0.1
TOGETHER, READOUT = 5.5, 4.0  # epochs of the control's phases: half of the recipe's
HALF_WIDTH = {"growth": 16, "stem": 16, "lateral": 32}
RESAMPLES = 10_000
RECORDS = STUDIES.parents[1] / "docs" / "research" / "second_search"

HSIC: dict[str, Any] = {"rule.name": "searched"}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "control": ("fer_backprop", {}),
    "hsic": ("fer_hsic", {}),
    "hsic-levels": ("fer_hsic_block", {}),
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
}
"""Each trial's recipe, and what it changes. The control gets each gain that it can use."""

FIRST_ROUND = ("control", "hsic", "hsic-head-4", "hsic-window-2", "hsic-patches")


def settings_of(case: str, division: int, data_path: str) -> Settings:
    """The settings of a trial, but for its length."""
    recipe, changes = CASES[case]
    tree = tomllib.loads((STUDIES.parent / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8"))
    if isinstance(changes.get("rule"), dict):
        tree["rule"] = {}
    tree = merge(tree, nest(changes))
    held = {"holdout_fraction": HELD_OUT, "holdout_seed": division, "plots": False, "data": {"path": data_path}}
    held |= {"precision": "fp32", "model": HALF_WIDTH}
    return Settings.from_tree(merge(tree, held), f"trial {case}")


def step_ratio_of(case: str, data_path: str, out: Path, records: Path, registry: Registry) -> float:
    """The time of a case's step to the control's: measured once, so that a case is as long on each division."""
    if case == "control":
        return 1.0
    for path in sorted(records.glob(f"{case}-[0-9].npz")):
        return float(facts_of(path)["step_ratio"])
    run, control = (resolve_run(settings_of(each, DIVISIONS[0], data_path), registry) for each in (case, "control"))
    assert run.data is not None
    return cost_of(run, control, load_run_dataset(run.config, run.data), out / "costs").step_ratio


def train(case: str, division: int, step_ratio: float, data_path: str, out: Path, registry: Registry) -> Path:
    """Train a trial, or go on with it. Returns its run folder."""
    place = out / "half-width" / case / str(division)
    there = [folder for folder in sorted(place.glob("2*")) if (folder / "config.toml").exists()]
    if there:
        summary = there[-1] / "summary.json"
        if not summary.exists() or json.loads(summary.read_text(encoding="utf-8"))["status"] != "done":
            localrules.resume(there[-1], plugins=registry)
        return there[-1]
    tree, control = (settings_of(each, division, data_path).tree for each in (case, "control"))
    together = round(TOGETHER / step_ratio * tree["batch_size"] / control["batch_size"], 1)
    phases = [
        {"name": "together", "train_layers": "all", "fraction": together},
        {"name": "readout", "train_layers": "readout", "fraction": READOUT},
    ]
    whole = merge(tree, {"phases": phases, "epochs": together + READOUT})
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


def tabulate(records: Path) -> pd.DataFrame:
    """A row for each case that is done on all divisions, beside the control and beside plain hsic."""
    found: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    for case in CASES:
        paths = [records / f"{case}-{division}.npz" for division in DIVISIONS]
        if not all(path.exists() for path in paths):
            continue
        parts = [read_record(path) for path in paths]
        found[case] = {key: np.concatenate([part[key] for part in parts]) for key in ("right", "loss")}
        reference = "control" if case.startswith("control") or case == "hsic" else "hsic"
        row: dict[str, Any] = {"case": case, "images": len(found[case]["right"])}
        row |= {key: found[case][key].mean() for key in ("right", "loss")}
        row["beside"] = reference
        for key in ("right", "loss"):
            if case != reference and reference in found:
                each = interval(found[case][key] - found[reference][key])
                row |= dict(zip((f"{key}_difference", f"{key}_low", f"{key}_high"), each, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Train what is asked for and not done, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="fer2013.csv", metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("search"), metavar="FOLDER", help="of the runs")
    parser.add_argument("--records", type=Path, default=RECORDS, metavar="FOLDER")
    parser.add_argument("--cases", default=",".join(FIRST_ROUND), metavar="A,B", help="patterns of names in CASES")
    parser.add_argument("--table", action="store_true", help="train nothing")
    asked = parser.parse_args()
    registry = Registry.from_plugins([STUDIES / "searched_on_fer2013.py"])
    chosen = [case for case in CASES if any(fnmatchcase(case, pattern) for pattern in asked.cases.split(","))]
    asked.records.mkdir(parents=True, exist_ok=True)
    for division in () if asked.table else DIVISIONS:
        for case in chosen:
            path = asked.records / f"{case}-{division}.npz"
            if not path.exists():
                print(f"{case}, division {division}", flush=True)
                ratio = step_ratio_of(case, asked.data_path, asked.out, asked.records, registry)
                folder = train(case, division, ratio, asked.data_path, asked.out, registry)
                part = path.with_suffix(".part.npz")
                np.savez_compressed(part, **record_of(folder, ratio, registry))
                part.replace(path)
    table = tabulate(asked.records)
    table.to_csv(asked.records / "trials.csv", index=False, float_format="%.5f")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))


if __name__ == "__main__":
    main()
