"""Parts of the auxiliary heads that several rules share."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from localrules.core.nn.pooling import pooled_features

Width = PositiveInt | Literal["all"]
"""A largest number of units, or ``"all"``: as many as there are inputs."""


def limit_width(width: Width, inputs: int) -> int:
    """The number of units of a linear map with this many inputs."""
    return inputs if width == "all" else min(width, inputs)


def halved_grid(shape: tuple[int, ...], features: int) -> int | None:
    """Positions per side that remain when the sides of a feature map are halved until few enough features are left.

    Args:
        shape: Of one sample's output: (channels, height, width) or (features,).
        features: The largest number of features, channels times positions.

    Returns:
        ``None`` for an output without positions, and for a feature map that is small enough.
    """
    if len(shape) != 3 or math.prod(shape) <= features:
        return None
    grid = max(shape[1:])
    while grid > 1 and pooled_features(shape, grid) > features:
        grid = math.ceil(grid / 2)
    return grid


def conv_unit(inputs: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution padded by half its kernel, batch norm, ReLU."""
    conv = nn.Conv2d(inputs, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels), nn.ReLU())
