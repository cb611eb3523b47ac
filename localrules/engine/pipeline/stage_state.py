"""The state of a part of the layers: collected from the stages, it is that of a run in one process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from localrules.core.layer import Layer
from localrules.core.rule import is_state_of
from localrules.engine.session import Session


def state_of_layers(session: Session, layers: Iterable[Layer]) -> dict[str, Any]:
    """Weights and buffers of some layers, the rule's state that belongs to them, and the state of their training."""
    layers = list(layers)
    owned = {id(value) for layer in layers for value in layer.module.state_dict(keep_vars=True).values()}
    network = session.network.model.state_dict(keep_vars=True)
    optimizers = session.optimizers.by_layer
    scaling, average = session.loss_scaling, session.weight_average
    state = {
        "loss_scaling": {} if scaling is None else scaling.state_dict(layer.name for layer in layers),
        "network": {name: value.detach() for name, value in network.items() if id(value) in owned},
        "rule": {
            name: value
            for name, value in session.rule.state_dict().items()
            if any(is_state_of(name, layer) for layer in layers)
        },
        "optimizers": {layer.name: optimizers[layer.name].state_dict() for layer in layers if layer.name in optimizers},
    }
    if average is not None:
        state["weight_average"] = average.state_dict(lambda part, name: name in state[part])
    return state


def load_state_of_layers(session: Session, state: dict[str, Any]) -> None:
    """Put some layers into a state that :func:`state_of_layers` gave in another process."""
    session.network.model.load_state_dict(state["network"], strict=False)
    session.rule.load_state_dict(state["rule"], strict=False)
    for name, optimizer in state["optimizers"].items():
        session.optimizers.by_layer[name].load_state_dict(optimizer)
    if session.loss_scaling is not None:
        session.loss_scaling.load_state_dict(state["loss_scaling"])
    if session.weight_average is not None:
        session.weight_average.load_state_dict(state["weight_average"])
