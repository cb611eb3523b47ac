"""The state of a part of the layers: collected from the stages, it is that of a run in one process."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from localrules.core.layer import Layer
from localrules.engine.layer_state import state_names
from localrules.engine.session import Session


def state_of_layers(session: Session, layers: Iterable[Layer]) -> dict[str, Any]:
    """Weights and buffers of some layers, the rule's state that belongs to them, and the state of their training."""
    layers = list(layers)
    names = state_names(session.network, session.rule, layers)
    optimizers = session.optimizers.by_layer
    scaling, average = session.loss_scaling, session.weight_average
    state = {
        "loss_scaling": {} if scaling is None else scaling.state_dict(layer.name for layer in layers),
        "network": _only(session.network.model.state_dict(), names["network"]),
        "rule": _only(session.rule.state_dict(), names["rule"]),
        "optimizers": {layer.name: optimizers[layer.name].state_dict() for layer in layers if layer.name in optimizers},
    }
    if average is not None:
        state["weight_average"] = {part: _only(values, names[part]) for part, values in average.state_dict().items()}
    return state


def _only(values: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in names}


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
