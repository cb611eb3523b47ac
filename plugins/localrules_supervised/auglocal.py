"""Each layer learns under a short copy of what comes after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.layer import Shape
from localrules.core.nn.pooling import pooled_features
from localrules.core.objective import RuleConfig
from localrules_supervised.heads import conv_unit, halved_grid
from localrules_supervised.matching import classification_loss


class AugLocal(Objective):
    """``CE(head(h), y)`` with a head built like the layers that follow in the network: augmented local learning.

    Of the layers behind layer ``l``, ``d_l`` are picked at even distances, the last one among them; the head is a new
    unit like each of them, and a linear classifier. Heads get shorter towards the top: with ``K`` layers, the readout
    counted, ``d_l = max(1, round(d (1 - a l / (K - 2)) + a l / (K - 2)))``.

    A unit has its layer's kernel size, stride and channels, batch norm and relu, and weights of its own. What lies
    between two picked layers is bridged by average pooling to the size that the picked layer reads.

    What differs: a layer that holds several convolutions (a block) is stood for by one; the depth is 2, where the paper
    goes to 9.

    References:
        Ma, Wu, Si & Tan 2024, Scaling supervised local learning with augmented auxiliary networks,
        https://arxiv.org/abs/2402.17318; https://github.com/ChenxiangMA/AugLocal.
    """

    class Config(RuleConfig):
        """Options of rule auglocal."""

        depth: int = Field(2, ge=1, description="Units of the first layer's head (ours; the paper: up to 9).")
        pyramid: float = Field(0.5, ge=0, le=1, description="How much shorter heads get towards the top (the paper's).")

    formula: ClassVar[str] = "CE(head(h), y), the head built like some of the layers that follow"
    requires: ClassVar[Requirements] = Requirements(min_batch=2, auxiliary=True)

    config: AugLocal.Config

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        """Keep what the layers look like, to build heads like them."""
        self._layers = tuple(layers)

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """Units like some of the following layers, and a classifier."""
        units, shape = [], layer.out_shape
        for picked in self.picked(layer):
            unit, shape = unit_like(picked, shape)
            units.append(unit)
        averaged = [nn.AdaptiveAvgPool2d(1)] if len(shape) == 3 else []
        features = pooled_features(shape, 1)
        return nn.Sequential(*units, *averaged, nn.Flatten(), nn.Linear(features, num_classes))

    def picked(self, layer: Layer) -> list[Layer]:
        """The layers behind a layer that its head is built like, in forward order."""
        place = next(n for n, other in enumerate(self._layers) if other.index == layer.index)
        behind = len(self._layers) - 1 - place
        part = self.config.pyramid * place / max(1, len(self._layers) - 1)
        depth = min(behind, max(1, round(self.config.depth * (1 - part) + part)))
        return [self._layers[round(place + behind / depth * n)] for n in range(1, depth + 1)]

    def loss(self, view: LayerView) -> Tensor:
        """The head's cross-entropy, a scalar."""
        assert view.auxiliary is not None
        return classification_loss(view, view.auxiliary)


def unit_like(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    """A new unit like a layer, for inputs of another shape.

    Args:
        layer: Which to be like.
        shape: Of the unit's inputs, without the batch.

    Returns:
        The unit, and the shape of what it gives.
    """
    if len(layer.out_shape) != 3 or len(shape) != 3:
        return _dense_unit(layer, shape)
    channels, height, _ = layer.out_shape
    read = layer.in_shape[1:] if len(layer.in_shape) == 3 else shape[1:]
    side = (min(shape[1], read[0]), min(shape[2], read[1]))
    bridge = [nn.AdaptiveAvgPool2d(side)] if side != shape[1:] else []
    kernel = max((weight.shape[-1] for weight in layer.parameters() if weight.dim() == 4), default=1)
    stride = max(1, round(side[0] / height))
    unit = nn.Sequential(*bridge, conv_unit(shape[0], channels, kernel, stride))
    after = [(length + 2 * (kernel // 2) - kernel) // stride + 1 for length in side]
    return unit, (channels, *after)


def _dense_unit(layer: Layer, shape: Shape) -> tuple[nn.Module, Shape]:
    """Fully connected; maps are averaged first, until they have no more features than the layer reads."""
    grid = halved_grid(shape, math.prod(layer.in_shape))
    inputs, units = pooled_features(shape, grid), math.prod(layer.out_shape)
    bridge = [nn.AdaptiveAvgPool2d(grid)] if grid is not None else []
    linear = nn.Linear(inputs, units, bias=False)
    return nn.Sequential(*bridge, nn.Flatten(), linear, nn.BatchNorm1d(units), nn.ReLU()), (units,)
