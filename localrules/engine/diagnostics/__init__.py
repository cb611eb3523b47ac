"""Measurements of each layer beside its objective. Nothing here changes a bit of what is learned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from localrules.callbacks.base import MetricsRow
from localrules.callbacks.results import Histogram
from localrules.config.schema import HISTOGRAMS
from localrules.core.phase import Phase
from localrules.engine.diagnostics.activations import ACTIVATION_DIAGNOSTICS, ActivationDiagnostics
from localrules.engine.diagnostics.gradients import GRADIENT_DIAGNOSTICS, GradientDiagnostics
from localrules.engine.session import Session

__all__ = ["Diagnostics"]


class Diagnostics:
    """The diagnostics that a run asked for.

    Those of a step (gradient, update, angle) are taken in every logged step; those of the layers' outputs (dead, hsic,
    cka, probe) and histograms at the end of every epoch.

    Args:
        session: The run.
    """

    def __init__(self, session: Session) -> None:
        asked = session.config.diagnostics
        self._session = session
        self._layers = session.network.layers
        self._stepwise = tuple(name for name in GRADIENT_DIAGNOSTICS if name in asked)
        self._readings = tuple(name for name in ACTIVATION_DIAGNOSTICS if name in asked)
        self._draws_histograms = HISTOGRAMS in asked
        self._gradient_histograms: dict[str, Histogram] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """``<diagnostic>/<layer>`` for everything that may be measured."""
        of_step = [f"{name}/{layer.name}" for name in self._stepwise for layer in self._layers]
        of_epoch = [f"{name}/{layer.name}" for name in self._readings for layer in self._session.network.hidden]
        return (*of_step, *of_epoch)

    def watches(self, logs: bool, closes_epoch: bool) -> bool:
        """Whether anything is to be measured in a step that is logged, or closes an epoch."""
        return (bool(self._stepwise) and logs) or (self._draws_histograms and closes_epoch)

    @contextmanager
    def of_step(self, phase: Phase, step: int, *, closes_epoch: bool = False) -> Iterator[MetricsRow]:
        """Watch the step that is taken inside; the row that is yielded is filled by then."""
        row: MetricsRow = {}
        names = (*self._stepwise, *([HISTOGRAMS] if self._draws_histograms and closes_epoch else []))
        watched = GradientDiagnostics(self._session, phase, step, names)
        with watched.watch(row):
            yield row
        self._gradient_histograms = watched.histograms

    def histograms(self) -> dict[str, Histogram]:
        """Histograms of each layer's weights, of its gradients in the last step, and of hidden layers' outputs."""
        if not self._draws_histograms:
            return {}
        weights = {
            f"weights/{layer.name}": Histogram.of(torch.cat([p.detach().flatten().float() for p in parameters]))
            for layer in self._layers
            if (parameters := list(layer.parameters()))
        }
        outputs = ActivationDiagnostics(self._session).histograms()
        found = {**weights, **self._gradient_histograms, **outputs}
        self._gradient_histograms = {}  # in a step that ends the run within an epoch they are not measured
        return {name: histogram for name, histogram in found.items() if histogram is not None}

    def of_epoch(self) -> MetricsRow:
        """Look at every hidden layer's output on some fixed images."""
        if not self._readings:
            return {}
        return ActivationDiagnostics(self._session).row(self._readings)
