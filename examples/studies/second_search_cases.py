"""The cases of the second search on FER2013, and the settings of their trials: second_search.py runs them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from localrules.config.overrides import merge, nest
from localrules.config.settings import Settings

STUDIES = Path(__file__).parent
NUMBERS = (0, 1, 2)  # of divisions and seeds
HELD_OUT = 0.1
TOGETHER, READOUT = 5.5, 4.0  # epochs of the control's phases: half of the recipe's


@dataclass(frozen=True)
class Ground:
    """A network and a data set.

    Attributes:
        data: The name of the data set.
        model: The name of the network.
        options: Options of the network; those of the recipes are for theirs.
        held_out: Whether trials are scored on divisions of Training; else on the valid split, with as many seeds.
        levels: The granularity of levels.
        precision: Of the trials.
    """

    data: str
    model: str
    options: Mapping[str, Any]
    held_out: bool = False
    levels: str | int = "block"
    precision: str = "fp32"


FER2013 = "fer2013"
GROUNDS = {
    FER2013: Ground("fer2013", "dense_fpn", {"growth": 16, "stem": 16, "lateral": 32}, held_out=True),
    "cifar10-resnet32": Ground("cifar10", "resnet32", {}, levels=3),
    "cifar10-vgg8b": Ground("cifar10", "vgg8b", {"width": 0.25}, levels=3),
    "cifar10-vgg8b-half": Ground("cifar10", "vgg8b", {"width": 0.5}, levels=3, precision="bf16"),
}
"""The recipes' own at half the width, and others to see whether what wins there wins here, too. Networks that have no
pyramid are cut into three parts of similar cost: as many as the pyramid has levels."""

HSIC: dict[str, Any] = {"rule.name": "searched"}
AVERAGED: dict[str, Any] = {"ema_decay": 0.995, "schedule.end": 0.1}  # a rate of 0 at the end leaves nothing to average
SMALL_HEADS: dict[str, Any] = {"rule.channels": 32, "rule.hidden": 64, "rule.projection": 32}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "control": ("fer_backprop", {}),
    "hsic": ("fer_hsic", {}),
    "hsic-shorter": ("fer_hsic", {}),
    "hsic-small-heads": ("fer_hsic", SMALL_HEADS),
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
    "hsic-levels-ce-smoothed": ("fer_hsic_block", {"rule.ce": 0.3, "targets.label_smoothing": 0.1}),
    "hsic-erased": ("fer_hsic", {"augment.erase_size": 0.3}),
    "control-erased": ("fer_backprop", {"augment.erase_size": 0.3}),
    "hsic-mixed": ("fer_hsic", {"targets.mixup": 0.2}),
    "control-mixed": ("fer_backprop", {"targets.mixup": 0.2}),
    "hsic-batch-256": ("fer_hsic", {"batch_size": 256, "optimizer.lr": 0.0085}),
    "control-batch-256": ("fer_backprop", {"batch_size": 256, "optimizer.lr": 0.0085}),
    "hsic-averaged": ("fer_hsic", AVERAGED),
    "control-averaged": ("fer_backprop", AVERAGED),
    "control-averaged-smoothed": ("fer_backprop", {**AVERAGED, "targets.label_smoothing": 0.1}),
    "hsic-small-heads-averaged": ("fer_hsic", {**SMALL_HEADS, **AVERAGED}),
    "hsic-levels-averaged": ("fer_hsic_block", AVERAGED),
    "hsic-levels-ce-averaged": ("fer_hsic_block", {"rule.ce": 0.3, **AVERAGED}),
    "hsic-levels-ce-averaged-smoothed": (
        "fer_hsic_block",
        {"rule.ce": 0.3, **AVERAGED, "targets.label_smoothing": 0.1},
    ),
}
"""Each trial's recipe, and what it changes. The control gets each gain that it can use. Four were added
after the first round: ``hsic-small-heads`` halves the networks beside the layers, too; two build on levels, the one
change that was kept; and ``hsic-shorter`` has the length of the cases in ``AS_LONG_AS``. Those of ``FINAL``, with all
that was kept, are for the final runs; the other averaged ones, with label smoothing, came after these, when it
had turned out to help the control."""

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

BESIDE = {
    "control-smoothed": ("hsic-levels-ce",),
    "hsic-levels-ce-smoothed": ("hsic-levels-ce", "control-smoothed"),
}
"""What a case is compared with besides the control, where that is not its recipe."""

FINAL = ("control-averaged", "hsic-small-heads-averaged", "hsic-levels-averaged", "hsic-levels-ce-averaged")
FIRST_ROUND = ("control", "hsic", "hsic-head-4", "hsic-window-2", "hsic-patches")


def is_control(case: str) -> bool:
    """Whether a case is trained by back-propagation."""
    return CASES[case][0] == CASES["control"][0]


@dataclass(frozen=True)
class Trial:
    """A trial, or a final run.

    Attributes:
        case: A key of ``CASES``.
        number: Of the division; of a final run, or where trials are scored on the valid split, the seed.
        final: Whether it is a final run.
        ground: A key of ``GROUNDS``.
        twice: Whether it is twice as long as others.
    """

    case: str
    number: int
    final: bool = False
    ground: str = FER2013
    twice: bool = False

    def __str__(self) -> str:
        place = "" if self.ground == FER2013 else f"{self.ground}, "
        length = ", twice as long" if self.twice else ""
        return f"{place}{self.case}{length}, {'division' if self.is_scored_on_a_division else 'seed'} {self.number}"

    @property
    def is_scored_on_a_division(self) -> bool:
        """Whether it is scored on what is held out from Training."""
        return GROUNDS[self.ground].held_out and not self.final

    @property
    def length(self) -> int:
        """The length, that of a trial being 1."""
        return (2 if self.final else 1) * (2 if self.twice else 1)

    @property
    def record(self) -> str:
        """The name of its record."""
        return f"{self._prefix}{self.case}-{self.number}.npz"

    @property
    def _prefix(self) -> str:
        ground = "" if self.ground == FER2013 else f"{self.ground}-"
        return ground + ("final-" if self.final else "") + ("twice-" if self.twice else "")

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
    held |= {"plots": False, "precision": ground.precision, "model": dict(ground.options)}
    held["data"] = {"name": ground.data, "path": data_path}
    return Settings.from_tree(merge(tree, held), f"trial {trial.case}")


def whole_settings(trial: Trial, step_ratio: float, data_path: str) -> Settings:
    """The settings of a trial with its length: as many epochs of all layers as fit into the control's time."""
    tree, control = (settings_of(replace(trial, case=case), data_path).tree for case in (trial.case, "control"))
    together = round(trial.length * TOGETHER / step_ratio * tree["batch_size"] / control["batch_size"], 1)
    readout = trial.length * READOUT
    phases = [
        {"name": "together", "train_layers": "all", "fraction": together},
        {"name": "readout", "train_layers": "readout", "fraction": readout},
    ]
    tree = merge(tree, {"phases": phases, "epochs": together + readout, "audit": trial.final})
    return Settings.from_tree(tree, f"trial {trial.case}")


def arithmetic_of(case: str) -> tuple[str, dict[str, Any]]:
    """The recipe of a case and those of its changes on which the arithmetic of a step depends."""
    recipe, changes = CASES[case]
    return recipe, {name: value for name, value in changes.items() if name.partition(".")[0] in OF_THE_STEP}
