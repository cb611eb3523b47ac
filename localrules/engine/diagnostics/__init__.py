"""What a run can measure of each layer beside its objective. Nothing here changes a bit of what is learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from localrules.engine.diagnostics.readings import READINGS, Probed
from localrules.engine.diagnostics.stepwise import STEPWISE, StepWatch
from localrules.engine.observers import Row
from localrules.engine.phases import Phase
from localrules.engine.session import Session

__all__ = ["Diagnostics"]


class Diagnostics:
    """The diagnostics that a run asked for.

    Those of a step (gradient, update, angle) are taken in every logged step; those of the layers' outputs (dead, hsic,
    cka, probe) at the end of every epoch.

    Args:
        session: The run.
    """

    def __init__(self, session: Session) -> None:
        asked = session.config.diagnostics
        self._session = session
        self._layers = session.network.layers
        self._stepwise = tuple(name for name in STEPWISE if name in asked)
        self._readings = tuple(name for name in READINGS if name in asked)

    @property
    def columns(self) -> tuple[str, ...]:
        """``<diagnostic>/<layer>`` for everything that may be measured."""
        of_step = [f"{name}/{layer.name}" for name in self._stepwise for layer in self._layers]
        of_epoch = [f"{name}/{layer.name}" for name in self._readings for layer in self._session.network.hidden]
        return (*of_step, *of_epoch)

    @property
    def watches_steps(self) -> bool:
        """Whether anything is to be measured in a step."""
        return bool(self._stepwise)

    @contextmanager
    def of_step(self, phase: Phase, step: int) -> Iterator[Row]:
        """Watch the step that is taken inside; the row that is yielded is filled by then."""
        row: Row = {}
        with StepWatch(self._session, phase, step, self._stepwise).watching(row):
            yield row

    def of_epoch(self) -> Row:
        """Look at every hidden layer's output on some fixed pictures."""
        if not self._readings:
            return {}
        return Probed(self._session).row(self._readings)
