"""Classes of locality: how far what a layer learns from may come, in six classes, from local to global."""

from __future__ import annotations

from typing import Literal, get_args

Locality = Literal["local", "local-labels", "window", "broadcast-error", "feedback", "backprop"]

LOCALITY_LEVELS: tuple[Locality, ...] = get_args(Locality)
"""In order: each may use what those before it may."""

LOCALITY_DESCRIPTIONS: dict[Locality, str] = {
    "local": "a layer learns from its inputs and outputs; no labels",
    "local-labels": "a layer learns from its inputs and outputs, the labels and the batch's images",
    "window": "a layer also learns from the K - 1 layers above it, across no more than K - 1 borders",
    "broadcast-error": "the network's error at the output is sent to every layer directly",
    "feedback": "signals come down from layer to layer, by separate weights or by states that settle",
    "backprop": "errors come down through the forward weights of the layers above, or as if they did",
}


def is_within(found: Locality, declared: Locality) -> bool:
    """Whether what was measured keeps to what was declared."""
    return LOCALITY_LEVELS.index(found) <= LOCALITY_LEVELS.index(declared)
