"""Owners of parameters, and writes to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

from localrules.auditing.traces import add_noise, differ
from localrules.engine.session import Session
from localrules.engine.step import train_steps


def owners(session: Session) -> dict[str, list[str]]:
    """For each trainable parameter of the network and the rule, the layers whose optimizer holds it."""
    holds = {
        layer: {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for layer, optimizer in session.optimizers.by_layer.items()
    }
    return {
        name: [layer for layer, held in holds.items() if id(parameter) in held]
        for name, parameter in _named(session, "named_parameters").items()
        if id(parameter) in session.trainable or (name.startswith("rule.") and parameter.requires_grad)
    }


def unowned_parameters(session: Session) -> list[str]:
    """Parameters that not exactly one layer owns, in sentences."""
    return [
        f"parameter {name} is owned by {', '.join(layers) or 'no layer'}"
        for name, layers in owners(session).items()
        if len(layers) != 1
    ]


@dataclass(frozen=True)
class ForeignWrite:
    """A tensor that was written to while the optimizer of a layer that does not own it stepped."""

    stepping: str
    tensor: str


@contextmanager
def watch_writes(session: Session) -> Iterator[list[ForeignWrite]]:
    """Look, whenever a layer's optimizer steps, at every tensor that is not the layer's: its value and its version.

    Yields:
        A list that fills with what was found.
    """
    tensors = {**_named(session, "named_parameters"), **_named(session, "named_buffers")}
    found: list[ForeignWrite] = []
    handles = []
    for layer, optimizer in session.optimizers.by_layer.items():
        own = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        others = {name: tensor for name, tensor in tensors.items() if id(tensor) not in own}
        watch = _Watch(layer, others, found)
        handles += [optimizer.register_step_pre_hook(watch.before), optimizer.register_step_post_hook(watch.after)]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def written_directly(session: Session) -> list[str]:
    """Parameters of network and rule that a step writes to although no optimizer steps, by name.

    Args:
        session: A fresh one; three steps are taken, from parameters with noise.
    """
    add_noise([*session.network.parameters(), *session.rule.parameters()], seed=0)
    session.optimizers.step = lambda name, scaler=None: False  # type: ignore[method-assign]
    parameters = _named(session, "named_parameters")
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    train_steps(session, 3)
    return [name for name, parameter in parameters.items() if differ([parameter.detach()], [before[name]])]


class _Watch:
    def __init__(self, layer: str, others: dict[str, Tensor], found: list[ForeignWrite]) -> None:
        self._layer, self._others, self._found = layer, others, found
        self._was: dict[str, tuple[int, Tensor]] = {}

    def before(self, *_: object) -> None:
        self._was = {name: (tensor._version, tensor.detach().clone()) for name, tensor in self._others.items()}

    def after(self, *_: object) -> None:
        for name, (version, value) in self._was.items():
            tensor = self._others[name]
            if tensor._version != version or differ([tensor.detach()], [value]):
                self._found.append(ForeignWrite(self._layer, name))


def _named(session: Session, kind: str) -> dict[str, Tensor]:
    modules = {"network": session.network.model, "rule": session.rule}
    return {
        f"{prefix}.{name}": tensor for prefix, module in modules.items() for name, tensor in getattr(module, kind)()
    }
