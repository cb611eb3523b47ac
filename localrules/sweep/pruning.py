"""Trials that fall behind are stopped early, in whatever process their runs execute."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localrules.callbacks.base import Callback, MetricsRow, Stop
from localrules.sweep.optimizer import Direction, Pruner, import_optuna, open_study

PRUNED = "pruned"
LOGGED = "valid_accuracy"
"""The number of a summary that runs log after each epoch, too."""


class _Pruning(Callback):
    """Reports the objective after each epoch, and stops a run that the pruner gives up."""

    def __init__(self, trial: Any, objective: str) -> None:
        self._trial, self._objective = trial, objective

    def on_evaluate(self, row: MetricsRow) -> None:
        value, epoch = row.get(self._objective), row["epoch"]
        if isinstance(value, int | float) and isinstance(epoch, int | float):
            # By epochs and not by steps: the rungs of hyperband are 1, 3, 9, and batches may be of other sizes.
            self._trial.report(float(value), math.ceil(epoch))
            if self._trial.should_prune():
                raise Stop(PRUNED)


@dataclass(frozen=True)
class PruningWatch:
    """Makes the callback of a trial in whatever process its run executes, from the study in the folder."""

    folder: Path
    direction: Direction
    pruner: Pruner
    trial: int
    objective: str

    def __call__(self) -> list[Callback]:
        trial = import_optuna().trial.Trial(open_study(self.folder, self.direction, self.pruner), self.trial)
        return [_Pruning(trial, self.objective)]
