"""A gradient-isolated part of a network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from localrules.core.pooling import pooled_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

Shape = tuple[int, ...]


@dataclass(eq=False)
class Layer:
    """One part of a network that learns from what it can see itself.

    A layer does not wrap its module: the network's modules keep their names, and :mod:`localrules.core.passes`
    steps in between a layer and its readers only while a pass is running.

    Attributes:
        name: Its module's name in the network, or the name of its part.
        module: What computes its output. Owns the layer's parameters.
        is_readout: Whether this is the network's readout, trained by cross-entropy.
        seen_at: The spatial grid at which its readers see its output (1 when they pool it globally), as the model
            marks it; ``None`` when they read the map as it is, or when it has ends that are seen at different grids.
        index: Its place in forward order, from 0; the readout comes last.
        depth: The longest path from the network's input, counted in layers, from 1.
        reads: Names of the layers that it reads; empty for one that reads only the network's input.
        accompanied: Whether whatever reads its output reads, beside it, all that the layer itself reads, as in a
            densely connected block; only where that is maps of one size, or vectors.
        in_shape: Shape of what it reads, without the batch: maps of one size as if concatenated by channel.
        out_shapes: Shape of each of its ends, without the batch.
        ends: Which of its outputs are ends: outputs that nothing else inside the layer reads. One, for most.
        ends_seen_at: For a layer made of several, each end's ``seen_at``.
        multiply_adds: Multiply-adds of one forward pass of one sample.
    """

    name: str
    module: nn.Module
    is_readout: bool = False
    seen_at: int | None = None
    index: int = -1
    depth: int = 0
    reads: tuple[str, ...] = ()
    accompanied: bool = False
    in_shape: Shape = ()
    out_shapes: tuple[Shape, ...] = ()
    ends: tuple[int, ...] | None = None
    ends_seen_at: tuple[int | None, ...] = ()
    multiply_adds: int = 0

    @property
    def out_shape(self) -> Shape:
        """Shape of its (last) end, without the batch."""
        return self.out_shapes[-1]

    def pooled_size(self, grid: int | None, *, inputs: bool = False) -> int:
        """How many features :meth:`LayerView.pooled <localrules.LayerView.pooled>` gives, asked with the same words."""
        beside = pooled_size(self.in_shape, grid) if inputs and self.accompanied else 0
        return beside + pooled_size(self.out_shape, grid)

    def at(self, end: int) -> Layer:
        """This layer as seen at its ``end``-th end alone: ``out_shape`` and ``seen_at`` are that end's."""
        if len(self.out_shapes) == 1:
            return self
        seen_at = self.ends_seen_at[end] if self.ends_seen_at else self.seen_at
        return replace(self, out_shapes=(self.out_shapes[end],), seen_at=seen_at)

    def parameters(self) -> Iterator[nn.Parameter]:
        """The layer's own parameters."""
        return self.module.parameters()

    @property
    def parameter_count(self) -> int:
        """How many numbers the layer learns."""
        return sum(parameter.numel() for parameter in self.parameters())
