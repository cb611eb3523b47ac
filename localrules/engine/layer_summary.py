"""The layer table: what each layer reads, gives, costs, and by what it learns."""

from __future__ import annotations

from typing import Any

from localrules.core.layer import Layer
from localrules.engine.layerwise import LayerwiseRule
from localrules.engine.mixture import part_index
from localrules.engine.session import Session


def layer_table(session: Session) -> list[dict[str, Any]]:
    """A row for each layer in forward order.

    Keys: ``name``; ``inputs``, the layers that it reads; ``in_shape`` and ``out_shape`` without the batch;
    ``parameters``, auxiliary modules not counted; ``macs`` of one sample's forward pass; ``rule``.
    """
    return [
        {
            "name": layer.name,
            "inputs": list(layer.input_layers),
            "in_shape": list(layer.in_shape),
            "out_shape": list(layer.out_shape),
            "parameters": layer.parameter_count,
            "macs": layer.macs,
            "rule": _rule_of(session, layer),
        }
        for layer in session.network.layers
    ]


def _rule_of(session: Session, layer: Layer) -> str:
    if layer.is_readout and isinstance(session.rule, LayerwiseRule):
        return "cross-entropy" if session.rule.trains_readout else ""
    parts = session.run.rule_parts
    return parts[part_index(parts, layer.name)].name
