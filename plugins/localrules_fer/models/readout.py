"""The readout of dense_fpn: the pyramid's merge, channel attention (the paper's layer_11), classifier."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules.core.nn.heads import mlp
from localrules.core.nn.pooling import pool


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
    """The merged pyramid averaged over a ``grid`` x ``grid`` grid, (batch, levels * channels, grid, grid).

    Averaging and nearest up-sampling are linear, so each level is averaged by itself, each of its pixels counted
    as often as it occurs in the merged map, and that large map is never made. A test holds the two forms together in
    float64.
    """
    sizes = [tuple(level.shape[2:]) for level in levels]
    pooled = []
    for index, level in enumerate(levels):
        # From this level's size up to the finest, one axis at a time.
        rows, columns = ([size[axis] for size in sizes[index::-1]] for axis in (0, 1))
        if _even(rows, grid) and _even(columns, grid):
            pooled.append(pool(level, grid))
        else:
            across, down = _cell_weights(columns, grid).to(level), _cell_weights(rows, grid).to(level)
            pooled.append(torch.einsum("gh,bchw,kw->bcgk", down, level, across))
    return torch.cat([level * weight for level, weight in zip(pooled, weights, strict=True)], 1)


def _even(sides: list[int], grid: int) -> bool:
    """Whether up-sampling from side to side repeats every pixel alike, and whole pixels fill the cells."""
    return sides[0] % grid == 0 and all(fine % coarse == 0 for coarse, fine in pairwise(sides))


def _cell_weights(sides: list[int], grid: int) -> Tensor:
    """The weight of each pixel of the coarsest side in each cell, shape (grid, sides[0]); rows sum to 1."""
    copies = torch.eye(sides[0])[None]
    for side in sides[1:]:
        copies = functional.interpolate(copies, size=side, mode="nearest")
    return functional.adaptive_avg_pool1d(copies, grid)[0].T


class AttentionReadout(nn.Module):
    """Merges the pyramid, pools it, scores every channel by fully connected layers, and classifies by softmax.

    Args:
        levels: Number of pyramid levels.
        channels: Channels of each.
        num_classes: Logits to give.
        grid: The grid over which the pyramid is averaged; 1 is the paper's global average pooling.
        hidden: Units of a hidden layer, with batch norm and relu, in the classifier; 0 is the paper's linear one.
        reduction: The attention's hidden layer has this many times fewer units than channels (ours; the paper
            prints no size).
    """

    def __init__(
        self, levels: int, channels: int, num_classes: int, grid: int = 1, hidden: int = 0, reduction: int = 4
    ) -> None:
        super().__init__()
        width = levels * channels
        self.grid = grid
        self.level_weight = nn.Parameter(torch.ones(levels))
        self.score = nn.Sequential(
            nn.Linear(width, width // reduction), nn.ReLU(), nn.Linear(width // reduction, width), nn.Sigmoid()
        )
        read = width * grid * grid
        self.classifier = mlp(read, hidden, num_classes, 2) if hidden else nn.Linear(read, num_classes)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """Maps fine to coarse to logits, shape (batch, num_classes)."""
        pooled = pool_pyramid(levels, self.level_weight, self.grid)
        scores = self.score(pooled.mean((2, 3)))
        logits: Tensor = self.classifier((pooled * scores[:, :, None, None]).flatten(1))
        return logits
