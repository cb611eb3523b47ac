"""State of a rule's own that belongs to one layer: its name says which."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from localrules.core.layer import Layer


def state_key(layer: Layer, end: int = 0) -> str:
    """A name for a module or a buffer that a rule keeps for one end of a layer.

    Names of modules and buffers may not hold dots, and what is named so is known as the layer's own: see
    :meth:`localrules.Rule.state_of`.
    """
    return f"{_spelt(layer)}#{end}"


def belongs_to(name: str, layer: Layer) -> bool:
    """Whether a part of a tensor's dotted name is the layer's, as :func:`state_key` spells it, with or without end."""
    return any(part.partition("#")[0] == _spelt(layer) for part in name.split("."))


def _spelt(layer: Layer) -> str:
    return layer.name.replace(".", "/")
