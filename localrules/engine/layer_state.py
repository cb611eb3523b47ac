"""Which parts of the state of a network and its rule belong to some of the layers."""

from __future__ import annotations

from collections.abc import Iterable

from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.rule import Rule, is_state_of


def state_names(network: Network, rule: Rule, layers: Iterable[Layer]) -> dict[str, set[str]]:
    """The names of what belongs to some layers, in the state of the network and in that of its rule.

    Returns:
        ``network`` and ``rule``: names of their ``state_dict``.
    """
    layers = list(layers)
    owned = {id(value) for layer in layers for value in layer.module.state_dict(keep_vars=True).values()}
    of_network = network.model.state_dict(keep_vars=True)
    return {
        "network": {name for name, value in of_network.items() if id(value) in owned},
        "rule": {name for name in rule.state_dict() if any(is_state_of(name, layer) for layer in layers)},
    }
