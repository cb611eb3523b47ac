"""Averages of maps over a grid of cells, as layers are looked at."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def grid_sides(sides: tuple[int, ...], grid: int) -> tuple[int, int]:
    """Rows and columns of a ``grid`` x ``grid`` grid over maps of some height and width: at most as many as they have.

    Tokens are maps of one column.
    """
    height, width = sides
    return min(grid, height), min(grid, width)


def pool_flat(maps: Tensor, grid: int | None) -> Tensor:
    """Average maps over a ``grid`` x ``grid`` grid and flatten them, shape (batch, features).

    Maps that are not larger than the grid, tensors that are not maps, and ``grid=None`` are only flattened.
    """
    if grid is None or maps.dim() != 4 or max(maps.shape[2:]) <= grid:
        return maps.flatten(1)
    return pool(maps, grid).flatten(1)


def pooled_features(shape: tuple[int, ...], grid: int | None) -> int:
    """Number of features that :func:`pool_flat` returns for an output of this shape, given without the batch."""
    if grid is None or len(shape) != 3:
        return math.prod(shape)
    return shape[0] * math.prod(grid_sides(shape[1:], grid))


def pool(maps: Tensor, grid: int) -> Tensor:
    """Average maps over a ``grid`` x ``grid`` grid, (batch, channels, rows, columns); see :func:`grid_sides`."""
    height, width = maps.shape[2:]
    sides = rows, columns = grid_sides((height, width), grid)
    cell = (height // rows, width // columns)
    even = height % rows == 0 and width % columns == 0
    if not torch.is_grad_enabled():  # torch.jit, and with it TensorBoard's graph, knows no autograd.Function
        return functional.avg_pool2d(maps, cell) if even else functional.adaptive_avg_pool2d(maps, sides)
    if even:
        means: Tensor = _CellMeans.apply(maps, cell)
        return means
    uneven: Tensor = _InLayout.apply(functional.adaptive_avg_pool2d(maps, sides), _layout(maps))
    return uneven


# Every layer of a local step is pooled, and what flattening sends back is in rows: spread in that order, the gradient
# has to be brought into the layout of its maps at their full size, or the activation's backward pass walks across it.


def _layout(maps: Tensor) -> torch.memory_format:
    last = maps.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


class _InLayout(torch.autograd.Function):
    """The same, with a gradient in the memory layout of the maps that were pooled, while it is still small."""

    @staticmethod
    def forward(ctx: Any, pooled: Tensor, layout: torch.memory_format) -> Tensor:
        ctx.layout = layout
        return pooled.view_as(pooled)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.contiguous(memory_format=ctx.layout), None


class _CellMeans(torch.autograd.Function):
    """Average pooling over whole cells, with a gradient in the maps' own memory layout."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, cell: tuple[int, int]) -> Tensor:
        ctx.cell, ctx.shape, ctx.layout = cell, maps.shape, _layout(maps)
        return functional.avg_pool2d(maps, cell)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        spread = grad / (ctx.cell[0] * ctx.cell[1])
        if spread.shape[2:].numel() == 1:  # one cell has no layout to go by
            return spread.expand(ctx.shape).contiguous(memory_format=ctx.layout), None
        spread = spread.contiguous(memory_format=ctx.layout)
        return functional.interpolate(spread, size=ctx.shape[2:], mode="nearest"), None
