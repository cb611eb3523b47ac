"""What stands on top of dense_fpn: the pyramid's merge, channel attention (the paper's layer_11), classifier."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules.core.pooling import pool


def merge_pyramid(levels: list[Tensor], weights: Tensor) -> Tensor:
    """Top-down: each coarser map is weighed, up-sampled to the next finer one's size, and joined with it by channel.

    Args:
        levels: The laterals' maps, fine to coarse, each (batch, channels, height, width).
        weights: One for each level.

    Returns:
        (batch, levels * channels, height, width) at the finest size, finest level first.
    """
    merged = levels[-1] * weights[-1]
    for level, weight in zip(reversed(levels[:-1]), reversed(weights[:-1]), strict=True):
        merged = torch.cat([level * weight, functional.interpolate(merged, size=level.shape[2:], mode="nearest")], 1)
    return merged


def pool_pyramid(levels: list[Tensor], weights: Tensor, grid: int) -> Tensor:
    """The merged pyramid averaged over a ``grid`` x ``grid`` raster, (batch, levels * channels, grid, grid).

    Where sizes divide, averaging commutes with nearest up-sampling, so each level is pooled first and the large
    merged map is never made; a test holds the two forms together in float64.
    """
    sides = [level.shape[2:] for level in levels]
    whole = all(fine[axis] % coarse[axis] == 0 for fine, coarse in pairwise(sides) for axis in (0, 1))
    if whole and all(side % grid == 0 for size in sides for side in size):
        return torch.cat([pool(level, grid) * weight for level, weight in zip(levels, weights, strict=True)], 1)
    return pool(merge_pyramid(levels, weights), grid)


class AttentionReadout(nn.Module):
    """Merges the pyramid, pools it, scores every channel by fully connected layers, and classifies by softmax.

    Args:
        levels: Number of pyramid levels.
        channels: Channels of each.
        num_classes: Logits to give.
        grid: The raster over which the pyramid is averaged; 1 is the paper's global average pooling.
        reduction: The attention's hidden layer has this many times fewer units than channels (ours; the paper
            prints no size).
    """

    def __init__(self, levels: int, channels: int, num_classes: int, grid: int = 1, reduction: int = 4) -> None:
        super().__init__()
        width = levels * channels
        self.grid = grid
        self.level_weight = nn.Parameter(torch.ones(levels))
        self.score = nn.Sequential(
            nn.Linear(width, width // reduction), nn.ReLU(), nn.Linear(width // reduction, width), nn.Sigmoid()
        )
        self.classifier = nn.Linear(width * grid * grid, num_classes)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Maps fine to coarse to logits, shape (batch, num_classes)."""
        pooled = pool_pyramid(levels, self.level_weight, self.grid)
        scores = self.score(pooled.mean((2, 3)))
        return self.classifier((pooled * scores[:, :, None, None]).flatten(1))
