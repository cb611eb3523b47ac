"""Training from a generic state, and what every layer did meanwhile, to be compared bit by bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from localrules.core.layer import Layer
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import train_step

NOISE = 0.1  # standard deviation: no parameter stays at the value it was initialised to, none leaves its scale


@dataclass
class Trace:
    """The trace of a layer: its gradients in each step, and its last parameters.

    Attributes:
        gradients: Of its parameters, those of its auxiliary modules included, step by step.
        parameters: The same parameters after the last step.
        buffers: Those of its module: the statistics of batch norms.
        state: What the rule keeps of the layer beside parameters: sums, means, buffers of auxiliary modules.
        learned: Whether a parameter had a gradient in any step, or parameters or state moved.
    """

    gradients: list[Tensor | None] = field(default_factory=list)
    parameters: list[Tensor | None] = field(default_factory=list)
    buffers: list[Tensor | None] = field(default_factory=list)
    state: list[Tensor | None] = field(default_factory=list)
    learned: bool = False


def train_from_perturbed(
    session: Session,
    steps: int,
    seed: int,
    *,
    change: int | None = None,
    context: AbstractContextManager[Any] | None = None,
) -> list[Trace]:
    """Train a few steps from a generic state.

    Noise is added to every parameter, auxiliary modules included, because a head that starts at zero sends nothing back
    and would hide a leak.

    Args:
        session: A fresh one.
        steps: How many to take, at most all of the run's.
        seed: Of the noise.
        change: Index of a layer whose parameters, those of its auxiliary modules included, are noised once more.
        context: Entered around the steps.

    Returns:
        A trace for each layer in forward order.
    """
    layers = session.network.layers
    with torch.no_grad():
        _add_noise([*session.network.parameters(), *session.rule.parameters()], seed)
        if change is not None:
            _add_noise(_parameters(session, layers[change]), seed + 1 + change)
    before = [[tensor.detach().clone() for tensor in _kept(session, layer)] for layer in layers]
    traces = [Trace() for _ in layers]
    for layer, trace in zip(layers, traces, strict=True):
        optimizer = session.optimizers.by_layer.get(layer.name)
        if optimizer is not None:
            optimizer.register_step_pre_hook(_recorder(_parameters(session, layer), trace))
    with context or nullcontext():
        take_steps(session, steps)
    for layer, trace, was in zip(layers, traces, before, strict=True):
        trace.parameters.extend(parameter.detach() for parameter in _parameters(session, layer))
        trace.buffers.extend(layer.module.buffers())
        trace.state.extend(session.rule.buffers_for(layer))
        had_gradients = any(gradient is not None for gradient in trace.gradients)
        trace.learned = had_gradients or differ(was, [*trace.parameters, *trace.state])
    return traces


def take_steps(session: Session, stop: int | None = None, start: int = 0) -> None:
    """Take steps ``start`` to ``stop`` (not included; by default all that are left), through whatever phases."""
    stop = session.total_steps if stop is None else stop
    for phase in session.phases:
        apply_phase(phase, session.network, session.trainable)
        for step in range(max(start, phase.start), min(phase.stop, stop)):
            train_step(session, phase, step)


def update_differs(one: Trace, other: Trace, *, own: bool = False) -> bool:
    """Whether a layer's update differs by any bit: that of its parameters, or of what the rule keeps of it.

    Args:
        one, other: Of the same layer. Its parameters started equal, unless ``own``.
        own: Whether they are the ones that were changed: then only gradients and the rule's state are compared.
    """
    if differ(one.gradients, other.gradients) or differ(one.state, other.state):
        return True
    return not own and differ(one.parameters, other.parameters)


def differ(ones: Sequence[Tensor | None], others: Sequence[Tensor | None]) -> bool:
    """Whether two lists of tensors differ by any bit."""
    return len(ones) != len(others) or not all(map(_same_bits, ones, others))


def shared_state(session: Session) -> dict[str, Tensor]:
    """State of the rule that belongs to no layer, by name; every layer may read it."""
    rule, layers = session.rule, session.network.layers
    tensors = {**dict(rule.named_buffers()), **dict(rule.named_parameters())}
    owned = {id(tensor) for layer in layers for tensor in (*rule.buffers_for(layer), *rule.parameters_for(layer))}
    return {name: tensor.detach() for name, tensor in tensors.items() if id(tensor) not in owned}


def _kept(session: Session, layer: Layer) -> list[Tensor]:
    return [*_parameters(session, layer), *session.rule.buffers_for(layer)]


def _parameters(session: Session, layer: Layer) -> list[torch.nn.Parameter]:
    return [*layer.parameters(), *session.rule.parameters_for(layer)]


def _add_noise(parameters: Iterable[torch.nn.Parameter], seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        parameter.add_(NOISE * torch.randn(parameter.shape, generator=draws).to(parameter))


def _recorder(parameters: list[torch.nn.Parameter], trace: Trace) -> Callable[..., None]:
    def record(*_: object) -> None:
        trace.gradients += [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]

    return record


def _same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    """Equal as bytes: unlike ``torch.equal``, a NaN equals itself, and -0 is not 0."""
    if one is None or other is None:
        return one is other
    return torch.equal(*(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8) for tensor in (one, other)))
