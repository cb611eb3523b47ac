"""Measurements of each layer beside its objective. Nothing here changes a bit of what is learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from localrules.callbacks.base import MetricsRow
from localrules.core.phase import Phase
from localrules.engine.diagnostics.activations import ACTIVATION_DIAGNOSTICS, ActivationDiagnostics
from localrules.engine.diagnostics.gradients import GRADIENT_DIAGNOSTICS, GradientDiagnostics
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
        self._stepwise = tuple(name for name in GRADIENT_DIAGNOSTICS if name in asked)
        self._readings = tuple(name for name in ACTIVATION_DIAGNOSTICS if name in asked)

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
    def of_step(self, phase: Phase, step: int) -> Iterator[MetricsRow]:
        """Watch the step that is taken inside; the row that is yielded is filled by then."""
        row: MetricsRow = {}
        with GradientDiagnostics(self._session, phase, step, self._stepwise).watch(row):
            yield row

    def of_epoch(self) -> MetricsRow:
        """Look at every hidden layer's output on some fixed images."""
        if not self._readings:
            return {}
        return ActivationDiagnostics(self._session).row(self._readings)
