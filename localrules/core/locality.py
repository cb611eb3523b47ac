"""Classes of locality: how far what a layer learns from may come, in six classes, from local to global."""

from __future__ import annotations

from typing import Literal, get_args

Locality = Literal["local", "local-labels", "window", "broadcast-error", "feedback", "backprop"]

LOCALITY_LEVELS: tuple[Locality, ...] = get_args(Locality)
"""In order: each may use what those before it may."""

LOCALITY_DESCRIPTIONS: dict[Locality, str] = {
    "local": "a layer learns from what it reads and gives; no labels",
    "local-labels": "a layer learns from what it reads and gives, and from the labels",
    "window": "a layer also learns from the K - 1 layers above it, across no more than K - 1 borders",
    "broadcast-error": "the network's error at the output is told to every layer directly",
    "feedback": "signals come down from layer to layer, by ways of their own or by settling states",
    "backprop": "one error goes back through the transposed weights of the layers above",
}


def is_within(found: Locality, declared: Locality) -> bool:
    """Whether what was measured keeps to what was declared."""
    return LOCALITY_LEVELS.index(found) <= LOCALITY_LEVELS.index(declared)
