"""Progress of a run: the newest metrics, the trends, the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import count, takewhile

from localrules.callbacks.base import MetricsRow, RunInfo
from localrules.engine.phases import cost_until
from localrules.engine.pipeline.stages import BUSY
from localrules.tracking.sparkline import Sparkline
from localrules.utils.progress import Work

OBJECTIVE = "objective/"
TREND_WIDTH = 8
# Rows over which the pace is taken: it follows a change of phase, and one slow step does not move it.
_WINDOW = 50


class Progress:
    """Gathers rows for the displays.

    Args:
        run: The run.
        clock: Seconds on a clock that never goes back.

    Attributes:
        work: What is done between steps at the moment, such as an evaluation.
    """

    def __init__(self, run: RunInfo, clock: Callable[[], float] = time.monotonic) -> None:
        self.run = run
        self.step = run.resumed_from_step
        self._clock = clock
        self._started = clock()
        self._seen: deque[tuple[float, int]] = deque([(self._started, self.step)], maxlen=_WINDOW)
        self._newest: MetricsRow = {}
        self.learning: set[str] = set()
        self.work: Work | None = None
        layers = [column.removeprefix(OBJECTIVE) for column in run.columns if column.startswith(OBJECTIVE)]
        self.objectives = {layer: Sparkline(TREND_WIDTH) for layer in layers}

    def add(self, row: MetricsRow) -> None:
        """Take a row in. What it lacks, such as the accuracy of the last evaluation, stays as it was."""
        self.step = int(row["step"] or 0)
        self._seen.append((self._clock(), self.step))
        self._newest |= {key: value for key, value in row.items() if value is not None}
        self.learning = set()
        for layer, trend in self.objectives.items():
            value = row.get(OBJECTIVE + layer)
            if isinstance(value, (int, float)):
                trend.add(float(value))
                self.learning.add(layer)

    def number(self, column: str) -> float | None:
        """The newest metric of a column, if there has been one."""
        value = self._newest.get(column)
        return float(value) if isinstance(value, (int, float)) else None

    @property
    def busy(self) -> list[float]:
        """The fraction of the time in which each stage computes, where processes divide the layers."""
        known = (self.number(f"{BUSY}{stage}") for stage in count())
        return [value for value in takewhile(lambda value: value is not None, known) if value is not None]

    @property
    def phase(self) -> str:
        """The phase that the run is in, or nothing while that is not known."""
        return str(self._newest.get("phase", ""))

    @property
    def epochs(self) -> float:
        """Passes over the training split so far."""
        return self.step / self.run.steps_per_epoch

    @property
    def total_epochs(self) -> float:
        """Passes over the training split of the whole run."""
        return self.run.total_steps / self.run.steps_per_epoch

    @property
    def elapsed(self) -> float:
        """Seconds since the run was started or resumed."""
        return self._clock() - self._started

    @property
    def eta(self) -> float | None:
        """Seconds to the end at the present pace, evaluations included; ``None`` before the first row.

        The pace is that of arithmetic, not of steps: one of a phase in which little learns takes less time.
        """
        (since, first), (now, last) = self._seen[0], self._seen[-1]
        if last <= first:
            return None
        before, done, whole = (cost_until(self.run.phases, step) for step in (first, last, self.run.total_steps))
        return (now - since) / (done - before) * (whole - done)
