"""The second search on FER2013: trials of a recipe on three divisions of Training, beside the control.

    python examples/studies/second_search.py --data-path fer2013.csv --out search                 # all
    python examples/studies/second_search.py --data-path fer2013.csv --out search --cases 'hsic*' --scale 0.5
    python examples/studies/second_search.py --out search --table                                 # what is there

All are 51 runs of about half an hour each on one thread, if a step takes 0.6 seconds as in the first search. A trial
trains on nine tenths of Training and is scored on the rest, held out by ``holdout_seed`` 0, 1 and 2; PublicTest is not
read. All trials have equal time: the step of each is timed beside the control's, and the first phase has as many epochs
as fit into the control's time. Repeat the command to go on where it stopped; what is done is not done again.

A difference to a reference is a mean over all held-out images of the three divisions, with the 95 % interval of a
paired bootstrap. It is kept if its interval excludes 0 in accuracy or in cross-entropy.
"""

from __future__ import annotations

import argparse
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
TOGETHER, READOUT = 11.0, 8.0  # epochs of the control's phases, as of the recipes
RESAMPLES = 10_000

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


def settings_of(case: str, division: int, data_path: str) -> Settings:
    """The settings of a trial, but for its length."""
    recipe, changes = CASES[case]
    tree = tomllib.loads((STUDIES.parent / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8"))
    if isinstance(changes.get("rule"), dict):
        tree["rule"] = {}
    tree = merge(tree, nest(changes))
    held = {"holdout_fraction": HELD_OUT, "holdout_seed": division, "plots": False, "data": {"path": data_path}}
    return Settings.from_tree(merge(tree, held), f"trial {case}")


def train(case: str, division: int, data_path: str, out: Path, scale: float, registry: Registry) -> Path:
    """Train a trial, or go on with it. Returns its run folder."""
    place = out / case / str(division)
    there = [folder for folder in sorted(place.glob("2*")) if (folder / "config.toml").exists()]
    if there:
        if not (there[-1] / "summary.json").exists():
            localrules.resume(there[-1], plugins=registry)
        return there[-1]
    settings = settings_of(case, division, data_path)
    # On the first division, so that a case is as long on each.
    run, control = (resolve_run(settings_of(each, DIVISIONS[0], data_path), registry) for each in (case, "control"))
    assert run.data is not None
    step = cost_of(run, control, load_run_dataset(run.config, run.data), out / "costs").step_ratio
    epoch = step * control.config.batch_size / run.config.batch_size
    together = round(TOGETHER / epoch, 1)
    phases = [
        {"name": "together", "train_layers": "all", "fraction": together},
        {"name": "readout", "train_layers": "readout", "fraction": READOUT},
    ]
    whole = merge(settings.tree, {"phases": phases, "epochs": scale * (together + READOUT)})
    return localrules.train(settings=whole, out=place, plugins=registry).directory


def score(folder: Path, registry: Registry) -> dict[str, np.ndarray]:
    """Of each held-out image: whether it is classified correctly, and its cross-entropy."""
    kept = folder / "held_out.npz"
    if not kept.exists():
        run = TrainedRun.load(folder, registry)
        scores = run.predictor.scores(run.data(registry).split("valid"))
        losses = functional.cross_entropy(scores.logits, scores.labels, reduction="none")
        np.savez(kept, right=(scores.predictions == scores.labels).numpy().astype(float), loss=losses.numpy())
    return dict(np.load(kept))


def interval(differences: np.ndarray) -> tuple[float, float, float]:
    """The mean of paired differences, and its 95 % interval by bootstrap over images."""
    random, count = np.random.default_rng(0), len(differences)
    means = [differences[random.integers(0, count, count)].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


def tabulate(out: Path, registry: Registry) -> pd.DataFrame:
    """A row for each case that is done on all divisions, beside the control and beside plain hsic."""
    found: dict[str, dict[str, np.ndarray]] = {}
    rows = []
    for case in CASES:
        folders = [next(iter(sorted((out / case / str(each)).glob("2*/summary.json"))), None) for each in DIVISIONS]
        if None in folders:
            continue
        parts = [score(path.parent, registry) for path in folders if path is not None]
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
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--cases", default="*", metavar="PATTERN", help="of names in CASES")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="of the length")
    parser.add_argument("--table", action="store_true", help="train nothing")
    asked = parser.parse_args()
    registry = Registry.from_plugins([STUDIES / "searched_on_fer2013.py"])
    if not asked.table:
        for division in DIVISIONS:
            for case in CASES:
                if fnmatchcase(case, asked.cases):
                    print(f"{case}, division {division}", flush=True)
                    train(case, division, asked.data_path, asked.out, asked.scale, registry)
    table = tabulate(asked.out, registry)
    table.to_csv(asked.out / "trials.csv", index=False, float_format="%.5f")
    print(table.to_string(index=False, float_format=lambda value: f"{value:.4f}"))


if __name__ == "__main__":
    main()
