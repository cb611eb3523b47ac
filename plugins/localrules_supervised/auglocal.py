"""Cross-entropy of a head on each layer that is built like the layers after it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerInfo, LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchRange
from localrules.core.nn.pooling import grid_sides, pooled_features
from localrules.utils.torch_utils import at_least_float32
from localrules_supervised.heads import conv_unit, halved_grid

Shape = tuple[int, ...]


class AugLocal(Objective):
    """``CE(head(h), y)`` with a head built like the layers that follow in the network: augmented local learning.

    Of the layers after layer ``l``, ``d_l`` are picked at even distances, the last one among them; the head is a new
    unit like each of them, and a linear classifier. Heads get shorter towards the top: with ``K`` layers, the readout
    counted, ``d_l = max(1, round(d (1 - a l / (K - 2)) + a l / (K - 2)))``.

    A unit has its layer's kernel size, stride and channels, batch norm and ReLU, and weights of its own. Between two
    picked layers, average pooling reduces feature maps to the size that the next one reads.

    What differs: a layer with several convolutions (a block) is represented by one; the depth is 2, where the paper
    goes to 9.

    References:
        Ma, Wu, Si & Tan 2024, Scaling supervised local learning with augmented auxiliary networks,
        https://arxiv.org/abs/2402.17318; https://github.com/ChenxiangMA/AugLocal.
    """

    class Config(RuleConfig):
        """Options of rule auglocal."""

        depth: int = Field(2, ge=1, le=100, description="Units of the first layer's head (ours; the paper: up to 9).")
        pyramid: float = Field(0.5, ge=0, le=1, description="How much shorter heads get towards the top (the paper's).")

    info = RuleInfo(
        search_space={"depth": SearchRange(1, 4, integer=True)},
        formula="CE(head(h), y), the head built like some of the layers that follow",
        requires=Requirements(min_batch=2, targets="weighted"),
        autocast=True,
    )

    config: AugLocal.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        units, shape = [], layer.out_shape
        for picked in self.pick_layers():
            unit, shape = unit_like(picked, shape)
            units.append(unit)
        averaged = [nn.AdaptiveAvgPool2d(1)] if len(shape) == 3 else []
        classifier = nn.Linear(pooled_features(shape, 1), num_classes)
        self.head = nn.Sequential(*units, *averaged, nn.Flatten(), classifier)

    def pick_layers(self) -> list[LayerInfo]:
        """The layers after this one that its head is built like, in forward order."""
        peers, position = self.layer.peers, self.layer.peer_index
        after = len(peers) - 1 - position
        part = self.config.pyramid * position / max(1, len(peers) - 1)
        depth = min(after, max(1, round(self.config.depth * (1 - part) + part)))
        return [peers[round(position + after / depth * n)] for n in range(1, depth + 1)]

    def forward(self, view: LayerView) -> Tensor:
        """The head's cross-entropy, a scalar."""
        return functional.cross_entropy(at_least_float32(self.head(view.output)), view.targets)


def unit_like(layer: LayerInfo, shape: Shape) -> tuple[nn.Module, Shape]:
    """A new unit like a layer, for inputs of another shape.

    Args:
        layer: The layer to copy in kind.
        shape: Of the unit's inputs, without the batch.

    Returns:
        The unit, and the shape of its output, without the batch.
    """
    if len(layer.out_shape) != 3 or len(shape) != 3:
        return _linear_unit(layer, shape)
    channels, height, _ = layer.out_shape
    read = layer.in_shape[1:] if len(layer.in_shape) == 3 else shape[1:]
    side = (min(shape[1], read[0]), min(shape[2], read[1]))
    bridge = [nn.AdaptiveAvgPool2d(side)] if side != shape[1:] else []
    kernels = [weights for weights in layer.parameter_shapes if len(weights) == 4]
    kernel = max((weights[-1] for weights in kernels), default=1)
    stride = max(1, round(side[0] / height))
    groups = math.gcd(shape[0], channels, _groups(kernels, layer.in_shape[0]))
    unit = nn.Sequential(*bridge, conv_unit(shape[0], channels, kernel, stride, groups))
    after = [(length + 2 * (kernel // 2) - kernel) // stride + 1 for length in side]
    return unit, (channels, *after)


def _groups(kernels: Sequence[Shape], channels: int) -> int:
    """Into how many groups a layer of one convolution splits its input; 1 for a layer of several."""
    return channels // kernels[0][1] if len(kernels) == 1 and channels % kernels[0][1] == 0 else 1


def _linear_unit(layer: LayerInfo, shape: Shape) -> tuple[nn.Module, Shape]:
    """A linear unit; feature maps are averaged until they have no more features than the layer reads."""
    grid = halved_grid(shape, math.prod(layer.in_shape))
    inputs, units = pooled_features(shape, grid), math.prod(layer.out_shape)
    bridge = [nn.AdaptiveAvgPool2d(grid_sides(shape[1:], grid))] if grid is not None else []
    linear = nn.Linear(inputs, units, bias=False)
    return nn.Sequential(*bridge, nn.Flatten(), linear, nn.BatchNorm1d(units), nn.ReLU()), (units,)
