"""All that a local rule may see of one layer in one step."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules.core.layer import Layer


@dataclass
class BatchStatistics:
    """What is the same for every layer of a step, computed once: Gram matrices of the input, of the labels.

    Attributes:
        images: The network's input, shape (batch, channels, height, width) or (batch, features).
        labels: int64, shape (batch,).
        num_classes: How many labels there are.
    """

    images: Tensor
    labels: Tensor
    num_classes: int
    _known: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def shared(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        """``compute()``, without gradient and once a step, whoever asks first."""
        if key not in self._known:
            with torch.no_grad():
                self._known[key] = compute()
        return self._known[key]


@dataclass
class LayerView:
    """What a layer can see of itself and the batch. What is not here cannot be used by accident.

    Attributes:
        layer: Its place: name, index, depth, shapes.
        inputs: What it read, detached. Shapes (batch, ...).
        output: What it computed, with the graph of this layer alone. Shape (batch, ...).
        batch: The network's input, the labels, and statistics shared by all layers of the step.
        auxiliary: The module that the objective asked for at this layer, if it did.
    """

    layer: Layer
    inputs: tuple[Tensor, ...]
    output: Tensor
    batch: BatchStatistics
    auxiliary: nn.Module | None = None

    @property
    def labels(self) -> Tensor:
        """int64, shape (batch,)."""
        return self.batch.labels

    @property
    def images(self) -> Tensor:
        """The network's input."""
        return self.batch.images

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return self.batch.num_classes

    def pooled(self, grid: int | None) -> Tensor:
        """The output averaged over a ``grid`` x ``grid`` raster and flattened, shape (batch, channels * grid * grid).

        Maps that are no larger than the raster, outputs that are no maps, and ``grid=None`` are only flattened.
        """
        return pool_flat(self.output, grid)


def pool_flat(maps: Tensor, grid: int | None) -> Tensor:
    """Average maps over a ``grid`` x ``grid`` raster and flatten them, shape (batch, features)."""
    if grid is None or maps.dim() != 4 or max(maps.shape[2:]) <= grid:
        return maps.flatten(1)
    height, width = maps.shape[2:]
    if height % grid == 0 and width % grid == 0:  # cells of one size: the same averages, in half the time
        pooled: Tensor = _CellMeans.apply(maps, (height // grid, width // grid))
        return pooled.flatten(1)
    return functional.adaptive_avg_pool2d(maps, grid).flatten(1)


class _CellMeans(torch.autograd.Function):
    """Average pooling whose gradient is spread by up-sampling: half the time of the built-in one in half precision."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, cell: tuple[int, int]) -> Tensor:
        ctx.cell, ctx.shape = cell, maps.shape
        return functional.avg_pool2d(maps, cell)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        share = grad / (ctx.cell[0] * ctx.cell[1])
        if share.shape[2:].numel() == 1:
            return share.expand(ctx.shape), None
        return functional.interpolate(share, size=ctx.shape[2:], mode="nearest"), None
