"""Early stopping: a run ends when a metric no longer improves."""

from __future__ import annotations

import math
from typing import Literal

from localrules.callbacks.base import Callback, MetricsRow, RunInfo, Stop
from localrules.errors import UsageError, warn


class EarlyStopping(Callback):
    """Stops a run when a metric has not improved for some evaluations.

    In a run with phases those of the last one count: a run that ended earlier would leave phases out.

    The weights are those of the last step, not of the best evaluation: a result chosen on the split that is reported
    flatters. The state is part of every checkpoint, so a resumed run stops where an unbroken one does.

    The setting ``early_stopping`` adds one to a run, e.g. ``--set early_stopping.patience=3``.

    Args:
        metric: A column of ``metrics.csv``, read at the end of each epoch.
        patience: Evaluations in a row without an improvement after which the run stops.
        mode: Whether the metric should grow (``max``) or shrink (``min``); ``auto`` is ``max`` for metrics whose name
            ends in ``accuracy``, else ``min``.
        min_delta: The smallest change that counts as an improvement.

    Raises:
        ValueError: ``patience`` is less than 1, or ``min_delta`` is negative.
        UsageError: At the first evaluation: the run does not log the metric. The setting is checked before training.
    """

    def __init__(
        self,
        metric: str = "valid_accuracy",
        patience: int = 3,
        mode: Literal["auto", "max", "min"] = "auto",
        min_delta: float = 0.0,
    ) -> None:
        if patience < 1 or min_delta < 0:
            raise ValueError(f"patience must be at least 1 and min_delta at least 0, not {patience} and {min_delta}")
        self.metric, self.patience, self.min_delta = metric, patience, min_delta
        self._sign = 1.0 if mode == "max" or (mode == "auto" and metric.endswith("accuracy")) else -1.0
        # Two of one metric that differ in these have states of their own; patience changes nothing in them.
        self._key = f"early_stopping/{metric}/{self._sign:+.0f}/{min_delta}"
        self.best: float | None = None
        self.waited = 0

    def on_run_start(self, run: RunInfo) -> None:
        self._run, self._lost = run, False
        # Not only restored but reset: one object may be passed to several runs.
        known = run.state.get(self._key, {"best": None, "waited": 0})
        self.best, self.waited = known["best"], known["waited"]

    def on_evaluate(self, row: MetricsRow) -> None:
        if self._run.phases and row["phase"] != self._run.phases[-1].name:
            return
        value = row.get(self.metric)
        if value is None and self.best is not None:  # of a tracker that failed and was left out
            if not self._lost:
                warn(f"{self.metric} is no longer measured: early stopping does not stop this run")
            self._lost = True
            return
        if not isinstance(value, (int, float)):
            raise UsageError(
                f"early stopping needs the metric {self.metric!r}, which this run does not log",
                where="early_stopping.metric",
                why="without a valid split there are no metrics of one" if self.metric.startswith("valid_") else "",
                fix="choose one of " + ", ".join(key for key, known in row.items() if isinstance(known, float)),
            )
        best = self.best
        has_improved = best is None or math.isnan(best) or self._sign * (value - best) > self.min_delta
        if has_improved and not math.isnan(value):
            self.best, self.waited = float(value), 0
            return
        if best is None:
            self.best = math.nan  # from now on it is known that the metric is logged
        self.waited += 1
        if self.waited >= self.patience:
            evaluations = "1 evaluation" if self.waited == 1 else f"{self.waited} evaluations"
            raise Stop(f"{self.metric} has not improved on {self.best:.4g} for {evaluations}")

    def on_checkpoint(self) -> None:
        self._run.state[self._key] = {"best": self.best, "waited": self.waited}
