"""Small networks that stand on a layer while it learns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from localrules.core.layer import Layer
from localrules.core.nn.pooling import pool_flat
from localrules.core.view import LayerView


class FeatureReader(nn.Module):
    """Features of a layer's output for a small network: averages over a grid, and those of its own convolution.

    Averages do not know how the maps look close by, and the next layers do. With ``channels``, a 3 x 3 convolution of
    stride 2 with batch norm and relu goes over fine maps, and what it gives is averaged over the grid, too. Maps are
    fine if it leaves them at least twice as fine as the grid.

    Coarser maps, outputs that are not maps, and those that their readers see over a grid are read by averages alone.

    Args:
        layer: Who is read.
        grid: Side of the grid where the model names none.
        inputs: Read what the layer read as well, where it is ``inputs_visible_downstream`` by that.
        channels: Of the convolution; 0: none.

    Attributes:
        features: How many numbers it reads of a sample.
    """

    def __init__(self, layer: Layer, grid: int, *, inputs: bool = False, channels: int = 0) -> None:
        super().__init__()
        self.grid, self.inputs = layer.pool_size or grid, inputs
        self.features = layer.pooled_features(self.grid, inputs=inputs)
        self.convolved: nn.Sequential | None = None
        shape = layer.out_shape
        if channels and layer.pool_size is None and len(shape) == 3 and min(shape[1:]) // 2 >= 2 * self.grid:
            self.convolved = nn.Sequential(
                nn.Conv2d(shape[0], channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
            )
            self.features += channels * self.grid**2

    def forward(self, view: LayerView) -> Tensor:
        """Shape (batch, features)."""
        averages = view.pooled(self.grid, inputs=self.inputs)
        if self.convolved is None:
            return averages
        return torch.cat([averages, pool_flat(self.convolved(view.output), self.grid)], 1)


def mlp(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    """``layers`` matrices; batch norm and relu behind all but the last.

    Args:
        inputs: Features that it reads.
        hidden: Units between two matrices.
        outputs: Features that it gives.
        layers: 1 is a linear map.
    """
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(inputs, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU()]
        inputs = hidden
    return nn.Sequential(*parts, nn.Linear(inputs, outputs))


def zero_init_classifier(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    """A classifier whose last matrix starts at zero: without an opinion, it does not pull at its layer at first.

    As in Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656.

    Args:
        inputs: Features that it reads.
        hidden: Units of a hidden layer; 0: it is linear.
        classes: How many labels there are.
    """
    made = mlp(inputs, hidden, classes, layers=2 if hidden else 1)
    for parameter in made[-1].parameters():
        nn.init.zeros_(parameter)
    return made
