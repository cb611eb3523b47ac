"""What stands on a layer while it learns: classifiers from linear to a small network."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

from localrules.core.layer import Shape
from localrules.core.nn.heads import mlp
from localrules.core.nn.pooling import pool_flat, pooled_features

Width = int | Literal["all"]
"""A number of units at most, or as many as are read."""


class LinearHead(nn.Module):
    """A linear classifier on the layer's output, averaged over a raster if that is a map.

    Its weights start at zero, as in Nøkland & Eidnes 2019: without an opinion, it does not pull at the layer at first.

    Args:
        shape: Of the output, without the batch.
        classes: How many labels there are.
        grid: The raster, see :func:`~localrules.core.nn.pooling.pool_flat`.
        bias: Whether it has one.
    """

    def __init__(self, shape: Shape, classes: int, grid: int | None, *, bias: bool = True) -> None:
        super().__init__()
        self._grid = grid
        self.linear = nn.Linear(pooled_features(shape, grid), classes, bias)
        nn.init.zeros_(self.linear.weight)
        if bias:
            nn.init.zeros_(self.linear.bias)

    def forward(self, output: Tensor) -> Tensor:
        """(batch, ...) to logits, (batch, classes)."""
        logits: Tensor = self.linear(pool_flat(output, self._grid))
        return logits


def at_most(width: Width, units: int) -> int:
    """The width of what reads so many units."""
    return units if width == "all" else min(width, units)


def halved_grid(shape: Shape, features: int) -> int | None:
    """The raster that is left when a map's sides are halved until it has no more than so many features.

    ``None`` for what is no map, and for a map that is small enough.
    """
    if len(shape) != 3 or math.prod(shape) <= features:
        return None
    grid = max(shape[1:])
    while grid > 1 and shape[0] * grid**2 > features:
        grid = math.ceil(grid / 2)
    return grid


def conv_unit(inputs: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution that keeps the size up to its stride, batch norm, relu."""
    conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())


def mlp_sr(shape: Shape, classes: int, hidden: Width) -> nn.Sequential:
    """Belilovsky et al.'s MLP-SR: cheap convolutions on shrunk maps, then fully connected layers.

    Maps are averaged to a quarter of their side, three 1 x 1 convolutions follow, a raster of 2 x 2, and three fully
    connected layers. A vector goes to the fully connected layers at once.

    Args:
        shape: Of the layer's output, without the batch.
        classes: How many labels there are.
        hidden: Units of the fully connected layers at most; ``all``: as many as the first reads.
    """
    if len(shape) != 3:
        inputs = math.prod(shape)
        return nn.Sequential(nn.Flatten(), mlp(inputs, at_most(hidden, inputs), classes, 3))
    channels, height, width = shape
    small = (math.ceil(height / 4), math.ceil(width / 4))
    last = (min(2, small[0]), min(2, small[1]))
    inputs = channels * last[0] * last[1]
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(small),
        *(conv_unit(channels, channels, 1) for _ in range(3)),
        nn.AdaptiveAvgPool2d(last),
        nn.Flatten(),
        mlp(inputs, at_most(hidden, inputs), classes, 3),
    )
