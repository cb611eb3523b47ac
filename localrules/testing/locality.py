"""Whose update depends on whose parameters: measured, not read off the graph.

What autograd says is not proof: a forgotten detach, a shared tensor, something kept for the next step, a hook or a
global all let a layer feel another, and only some of them show in a graph. So a layer's parameters are changed and
training is repeated with the same draws; whatever else then moves by one bit depends on that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from localrules.core.layer import Layer
from localrules.engine.phases import enter
from localrules.engine.session import Session
from localrules.engine.stepping import take_step

Matrix = tuple[tuple[bool, ...], ...]
NOISE = 0.1  # standard deviation: no parameter stays at the value it was initialised to, none leaves its scale


@dataclass(frozen=True)
class Dependence:
    """Which layer's update depends on which layer's parameters.

    Attributes:
        layers: Names in forward order, the readout last.
        depends: ``depends[row][column]``: whether the gradients or the change of layer ``row``'s parameters, those of
            its auxiliary modules included, differ by any bit when layer ``column``'s do. The diagonal compares
            gradients.
        buffers: The same for layer ``row``'s buffers (the statistics of batch norms).
        upstream: ``upstream[row][column]``: whether layer ``row`` reads layer ``column``, directly or through others;
            then its update may depend on it.
        steady: Whether training twice from one state gave the same bits. Where it did not, something is kept outside of
            the session (a global), and the matrices say more than there is.
    """

    layers: tuple[str, ...]
    depends: Matrix
    buffers: Matrix
    upstream: Matrix
    steady: bool

    @property
    def leaks(self) -> list[tuple[str, str]]:
        """Pairs (layer, other) such that the layer's update or buffers depend on another that it does not read."""
        return [
            (self.layers[row], self.layers[column])
            for row in range(len(self.layers))
            for column in range(len(self.layers))
            if row != column and not self.upstream[row][column]
            if self.depends[row][column] or self.buffers[row][column]
        ]

    @property
    def is_local(self) -> bool:
        """Whether every layer's update depends on itself and on what it reads alone."""
        return self.steady and not self.leaks


def measure_dependence(build: Callable[[], Session], *, steps: int = 3, seed: int = 0) -> Dependence:
    """Train a few steps from a generic state, then again for each layer with that layer's parameters changed.

    The state is generic: noise is added to every parameter, auxiliary modules included, because a head that starts at
    zero sends nothing back and would hide a leak.

    Args:
        build: Makes a fresh session, each time the same. Small networks and batches do.
        steps: Steps to take; what a rule keeps from one step shows in the next ones.
        seed: Of the noise.
    """
    first, again = (_train(build(), steps, seed) for _ in range(2))
    changed = [_train(build(), steps, seed, change=index) for index in range(len(first))]
    layers = build().network.layers
    indices = range(len(layers))
    return Dependence(
        layers=tuple(layer.name for layer in layers),
        depends=tuple(tuple(_update_differs(again, changed[c], r, own=r == c) for c in indices) for r in indices),
        buffers=tuple(tuple(_differ(again[r].buffers, changed[c][r].buffers) for c in indices) for r in indices),
        upstream=_upstream(layers),
        steady=not any(_update_differs(first, again, index) for index in indices),
    )


@dataclass
class _Trace:
    """What a layer did: its gradients in each step, and where it ended."""

    gradients: list[Tensor | None] = field(default_factory=list)
    parameters: list[Tensor | None] = field(default_factory=list)
    buffers: list[Tensor | None] = field(default_factory=list)


def _train(session: Session, steps: int, seed: int, change: int | None = None) -> list[_Trace]:
    """A trace for each layer, of training from the generic state with one layer's parameters changed, or none's."""
    layers = session.network.layers
    with torch.no_grad():
        _add_noise([*session.network.parameters(), *session.rule.parameters()], seed)
        if change is not None:
            _add_noise(_parameters(session, layers[change]), seed + 1 + change)
    traces = [_Trace() for _ in layers]
    for layer, trace in zip(layers, traces, strict=True):
        optimizer = session.optimizers.by_layer.get(layer.name)
        if optimizer is not None:
            optimizer.register_step_pre_hook(_recorder(_parameters(session, layer), trace))
    for phase in session.phases:
        enter(phase, session.network, session.trainable)
        for step in range(phase.start, min(phase.stop, steps)):
            take_step(session, phase, step)
    for layer, trace in zip(layers, traces, strict=True):
        trace.parameters.extend(parameter.detach() for parameter in _parameters(session, layer))
        trace.buffers.extend(layer.module.buffers())
    return traces


def _parameters(session: Session, layer: Layer) -> list[torch.nn.Parameter]:
    return [*layer.parameters(), *session.rule.parameters_of(layer)]


def _add_noise(parameters: Sequence[torch.nn.Parameter], seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.add_(NOISE * torch.randn(parameter.shape, generator=draws).to(parameter))


def _recorder(parameters: list[torch.nn.Parameter], trace: _Trace) -> Callable[..., None]:
    def record(*_: object) -> None:
        trace.gradients += [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]

    return record


def _update_differs(plain: list[_Trace], changed: list[_Trace], row: int, own: bool = False) -> bool:
    """Whether a layer's update differs. Its parameters start equal, unless they are the ones that were changed."""
    gradients = _differ(plain[row].gradients, changed[row].gradients)
    return gradients or (not own and _differ(plain[row].parameters, changed[row].parameters))


def _differ(ones: list[Tensor | None], others: list[Tensor | None]) -> bool:
    return len(ones) != len(others) or not all(map(_same_bits, ones, others))


def _same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    """Equal as bytes: unlike ``torch.equal``, a NaN equals itself, and -0 is not 0."""
    if one is None or other is None:
        return one is other
    return torch.equal(*(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8) for tensor in (one, other)))


def _upstream(layers: Sequence[Layer]) -> Matrix:
    above: dict[str, set[str]] = {}
    for layer in layers:  # in forward order: what a layer reads is known by then
        above[layer.name] = set(layer.reads).union(*(above[name] for name in layer.reads))
    return tuple(tuple(column.name in above[row.name] for column in layers) for row in layers)
