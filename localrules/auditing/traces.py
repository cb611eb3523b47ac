"""Training from a generic state, and what every layer did meanwhile, to be compared bit by bit."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import get_native_id
from typing import Any

import torch
from torch import Tensor

from localrules.core.layer import Layer
from localrules.engine.session import Session
from localrules.engine.step import train_steps

NOISE = 0.1
"""Standard deviation of the noise, multiplied by a parameter's root mean square where that lies between 0 and 1: none
stays at the value it was initialised to, none leaves its scale, and a small positive one, a temperature, stays so."""


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

    def digest(self) -> TraceDigest:
        """Hashes of what it holds: equal exactly where all bits are."""
        parts = (self.gradients, self.parameters, self.buffers, self.state)
        gradients, parameters, buffers, state = map(digest, parts)
        return TraceDigest(gradients, parameters, buffers, state, self.learned)


@dataclass(frozen=True)
class TraceDigest:
    """Hashes of a layer's trace, which travel between processes and take no memory; attributes as of :class:`Trace`."""

    gradients: str
    parameters: str
    buffers: str
    state: str
    learned: bool

    def update_differs(self, other: TraceDigest, *, own: bool = False) -> bool:
        """Whether a layer's update differs by any bit: that of its parameters, or of what the rule keeps of it.

        Args:
            other: Of the same layer. Its parameters started equal, unless ``own``.
            own: Whether they are the ones that were changed: then only gradients and the rule's state are compared.
        """
        if (self.gradients, self.state) != (other.gradients, other.state):
            return True
        return not own and self.parameters != other.parameters


def train_from_perturbed(
    session: Session,
    steps: int,
    seed: int,
    *,
    start: int = 0,
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
        start: The first step.
        change: Index of a layer whose parameters, those of its auxiliary modules included, are noised once more.
        context: Entered around the steps.

    Returns:
        A trace for each layer in forward order.
    """
    add_noise([*session.network.parameters(), *session.rule.parameters()], seed)
    if change is not None:
        change_layer(session, change, seed)
    return trace_steps(session, start, start + steps, context=context)


def on_own_stack(work: Callable[[], object]) -> None:
    """Do some work in a thread, and wait for its end; what it raises is raised here."""
    with ThreadPoolExecutor(1) as threads:
        thread = threads.submit(get_native_id).result()
        done = threads.submit(work)
    _wait_until_gone(thread)
    done.result()


def _wait_until_gone(thread: int) -> None:
    """Wait until the system has ended a thread, on Linux; Python takes it for ended a little earlier.

    Meanwhile it may hold a lock, such as that of MKL's memory, for which a process that is forked now would wait
    forever.
    """
    place, until = Path(f"/proc/self/task/{thread}"), time.monotonic() + 10
    while place.exists() and time.monotonic() < until:
        time.sleep(1e-4)


def change_layer(session: Session, index: int, seed: int, *, absolute: float = NOISE, relative: float = 0.0) -> None:
    """Add noise to a layer's parameters, those of its auxiliary modules included.

    Args:
        session: Changed in place.
        index: Of the layer, in forward order.
        seed: Of the noise; each layer has a noise of its own.
        absolute, relative: As of :func:`add_noise`.
    """
    layer = session.network.layers[index]
    add_noise(_parameters(session, layer), seed + 1 + index, absolute=absolute, relative=relative)


def trace_steps(
    session: Session,
    start: int,
    stop: int,
    *,
    context: AbstractContextManager[Any] | None = None,
    between: Callable[[], object] | None = None,
    alone: bool = False,
) -> list[Trace]:
    """Take steps ``start`` to ``stop`` (not included), and trace all layers.

    In windows of layers parameters are put back after each step: a layer depends on the parameters of its window, and
    what these learned from the next window would come down to it one window a step. What the rule keeps moves on.

    Args:
        session: As it stands.
        start, stop: Within the run's steps.
        context: Entered around the steps.
        between: Called after each step.
        alone: Take the steps on a stack of their own, where a rule finds nothing of who measures.
    """
    layers = session.network.layers
    hooks = _hold_parameters(session) if session.run.window > 1 else []
    before = [[tensor.detach().clone() for tensor in _kept(session, layer)] for layer in layers]
    traces = [Trace() for _ in layers]
    for layer, trace in zip(layers, traces, strict=True):
        optimizer = session.optimizers.by_layer.get(layer.name)
        if optimizer is not None:
            hooks.append(optimizer.register_step_pre_hook(_recorder(_parameters(session, layer), trace)))
    take = partial(train_steps, session, stop - start, start=start, between=between)
    with context or nullcontext():
        on_own_stack(take) if alone else take()
    for hook in hooks:
        hook.remove()
    for layer, trace, was in zip(layers, traces, before, strict=True):
        trace.parameters.extend(parameter.detach() for parameter in _parameters(session, layer))
        trace.buffers.extend(layer.module.buffers())
        trace.state.extend(session.rule.buffers_for(layer))
        had_gradients = any(gradient is not None and bool(gradient.any()) for gradient in trace.gradients)
        trace.learned = had_gradients or differ(was, [*trace.parameters, *trace.state])
    return traces


def _hold_parameters(session: Session) -> list[Any]:
    """Let optimizers step and parameters stay; the handles of hooks that do it."""
    handles = []
    for optimizer in session.optimizers.by_layer.values():
        held = [weight for group in optimizer.param_groups for weight in group["params"]]
        values = [weight.detach().clone() for weight in held]
        handles.append(optimizer.register_step_post_hook(_restorer(held, values)))
    return handles


def _restorer(held: list[torch.nn.Parameter], values: list[Tensor]) -> Callable[..., None]:
    def restore(*_: object) -> None:
        with torch.no_grad():
            for weight, value in zip(held, values, strict=True):
                weight.copy_(value)

    return restore


def update_differs(one: Trace, other: Trace) -> bool:
    """:meth:`TraceDigest.update_differs` of two traces."""
    return one.digest().update_differs(other.digest())


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


@torch.no_grad()
def add_noise(
    parameters: Iterable[torch.nn.Parameter], seed: int, *, absolute: float = NOISE, relative: float = 0.0
) -> None:
    """Add normal noise to each parameter.

    Args:
        parameters: Changed in place.
        seed: Of the noise.
        absolute: Standard deviation. Unless ``relative`` is given, it is multiplied by the root mean square of
            parameters for which this lies between 0 and 1.
        relative: More standard deviation, in units of each parameter's root mean square.
    """
    draws = torch.Generator().manual_seed(seed)
    for parameter in parameters:
        size = parameter.square().mean().sqrt()
        # A large change may take any parameter out of its scale, and those of wide layers have a small one.
        scale = absolute + relative * size if relative else absolute * (size.clamp(max=1) if size > 0 else 1)
        parameter.add_(scale * torch.randn(parameter.shape, generator=draws).to(parameter))


def _recorder(parameters: list[torch.nn.Parameter], trace: Trace) -> Callable[..., None]:
    def record(*_: object) -> None:
        trace.gradients += [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]

    return record


def digest(tensors: Iterable[Tensor | None]) -> str:
    """A hash of tensors' values to the bit, their shapes and types."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(b"none" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor is not None:
            found.update(_bytes(tensor).numpy().data)
    return found.hexdigest()


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)


def _same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    """Equal as bytes: unlike ``torch.equal``, a NaN equals itself, and -0 is not 0."""
    if one is None or other is None:
        return one is other
    return torch.equal(_bytes(one), _bytes(other))
