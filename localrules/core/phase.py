"""A training phase: a range of steps in which some layers learn."""

from __future__ import annotations

from dataclasses import dataclass

from localrules.core.layer import Layer


@dataclass(frozen=True)
class Phase:
    """A stretch of steps in which some layers learn.

    Attributes:
        name: Shown in progress and metrics.
        start, stop: Its steps, counted over the whole run; ``stop`` is the first step after it.
        trainable_layers: Names of the layers that learn; never one whose parameters are all frozen.
        cost: Of a step, roughly, in forward passes of the network: a layer that learns takes its own three times.
        auxiliary: Whether the auxiliary modules of the other layers learn, too.
        frozen_layers: Names of the layers that would learn if their author had not frozen all their parameters.
    """

    name: str
    start: int
    stop: int
    trainable_layers: frozenset[str]
    cost: float
    auxiliary: bool = False
    frozen_layers: frozenset[str] = frozenset()

    def is_trainable(self, layer: Layer) -> bool:
        """Whether the layer learns in this phase."""
        return layer.name in self.trainable_layers
