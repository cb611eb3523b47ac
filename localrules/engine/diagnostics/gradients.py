"""Diagnostics of a step: gradients, updates, and their angle to those of back-propagation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from localrules.callbacks.base import MetricsRow
from localrules.callbacks.results import Histogram
from localrules.config.schema import HISTOGRAMS
from localrules.core.layer import Layer
from localrules.core.phase import Phase
from localrules.engine.session import Session
from localrules.engine.step import seed_step
from localrules.utils.torch_utils import preserve_buffers

GRADIENT_DIAGNOSTICS = ("gradient", "update", "angle")

Hook = Callable[..., None]


class GradientDiagnostics:
    """Measures each learning layer's own parameters (not those of its auxiliary modules) around one step.

    ``gradient``: the norm of its gradient, after clipping. ``update``: how far its optimizer moved it, as a fraction of
    its own norm. ``angle``: degrees between its gradient and that of back-propagation for the same batch and weights;
    90 is not a relation, below 90 descends the global loss too.

    Args:
        session: The run.
        phase, step: The step that is about to be taken.
        names: Which of ``GRADIENT_DIAGNOSTICS``, and ``histograms``.

    Attributes:
        histograms: ``gradients/<layer>``, once the step is taken.
    """

    def __init__(self, session: Session, phase: Phase, step: int, names: tuple[str, ...]) -> None:
        self._session, self._phase, self._step, self._names = session, phase, step, names
        self._before: dict[str, list[Tensor]] = {}
        self.histograms: dict[str, Histogram] = {}

    @contextmanager
    def watch(self, row: MetricsRow) -> Iterator[None]:
        """Fill ``row`` with ``<name>/<layer>`` while the step is taken inside."""
        learning = [layer for layer in self._session.network.layers if self._phase.is_trainable(layer)]
        reference = self._backprop_gradients(learning) if "angle" in self._names else {}
        handles = []
        for layer in learning:
            optimizer = self._session.optimizers.by_layer[layer.name]
            handles.append(optimizer.register_step_pre_hook(self._before_step(layer, reference, row)))
            handles.append(optimizer.register_step_post_hook(self._after_step(layer, row)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _before_step(self, layer: Layer, reference: dict[str, Tensor], row: MetricsRow) -> Hook:
        def measure(optimizer: Optimizer, *_: object) -> None:
            own = _trained_parameters(layer)
            gradient = _flatten([p.grad if p.grad is not None else torch.zeros_like(p) for p in own])
            if "gradient" in self._names:
                row[f"gradient/{layer.name}"] = float(gradient.norm())
            if HISTOGRAMS in self._names and (found := Histogram.of(gradient)) is not None:
                self.histograms[f"gradients/{layer.name}"] = found
            if "angle" in self._names:
                row[f"angle/{layer.name}"] = _angle_degrees(gradient, reference[layer.name])
            if "update" in self._names:
                self._before[layer.name] = [parameter.detach().clone() for parameter in own]

        return measure

    def _after_step(self, layer: Layer, row: MetricsRow) -> Hook:
        def measure(optimizer: Optimizer, *_: object) -> None:
            before = self._before.pop(layer.name, None)
            if before is not None:
                was, now = _flatten(before), _flatten([p.detach() for p in _trained_parameters(layer)])
                row[f"update/{layer.name}"] = float((now - was).norm() / was.norm().clamp_min(1e-12))

        return measure

    def _backprop_gradients(self, learning: list[Layer]) -> dict[str, Tensor]:
        """Each layer's gradient under back-propagation for the step's own batch and draws."""
        session = self._session
        seed_step(session.config, self._step, session.device.device)
        batch = session.batches.batch(self._step)
        own = {layer.name: _trained_parameters(layer) for layer in learning}
        weights = [parameter for parameters in own.values() for parameter in parameters]
        with preserve_buffers(session.network.model.buffers()), torch.enable_grad():
            with session.device.autocast_unscaled():
                logits = session.network(batch.images)
            loss = functional.cross_entropy(logits.float(), batch.targets)
            gradients = iter(torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True))
        return {name: _flatten([next(gradients) for _ in parameters]) for name, parameters in own.items()}


def _trained_parameters(layer: Layer) -> list[nn.Parameter]:
    return [parameter for parameter in layer.parameters() if parameter.requires_grad]


def _flatten(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().flatten().float() for tensor in tensors])


def _angle_degrees(one: Tensor, other: Tensor) -> float | None:
    """The angle between two vectors; nothing where one is zero."""
    lengths = float(one.norm() * other.norm())
    if lengths == 0.0:
        return None
    return math.degrees(math.acos(max(-1.0, min(1.0, float(one @ other) / lengths))))
