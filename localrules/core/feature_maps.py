"""Outputs whose features are their last dimension, such as tokens, as feature maps."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

Shape = tuple[int, ...]

_FEATURES_LAST = (functional.linear, functional.layer_norm, functional.rms_norm, functional.embedding)
_CHANNELS_FIRST = (
    torch.conv1d,
    torch.conv2d,
    torch.conv_transpose1d,
    torch.conv_transpose2d,
    functional.conv1d,
    functional.conv2d,
    functional.batch_norm,
    functional.group_norm,
    functional.instance_norm,
)


def feature_map_shape(shape: Shape) -> Shape:
    """The shape of features-last values as a feature map: (..., features) to (features, height, width).

    The positions form a square where their number is one, as those of tokens without a class token do; else one column.

    Args:
        shape: Without the batch, (positions, features) or (height, width, features).
    """
    *positions, features = shape
    if len(positions) > 1:
        return (features, *positions)
    side = math.isqrt(positions[0])
    return (features, side, side) if side**2 == positions[0] else (features, positions[0], 1)


def to_feature_map(values: Tensor) -> Tensor:
    """Features-last values as a feature map, a view.

    Args:
        values: Shape (batch, positions, features) or (batch, height, width, features).

    Returns:
        Shape (batch, features, height, width), see :func:`feature_map_shape`.
    """
    shape = feature_map_shape(tuple(values.shape[1:]))
    return values.reshape(len(values), *shape[1:], shape[0]).movedim(-1, 1)


def from_feature_map(maps: Tensor, shape: Shape) -> Tensor:
    """The inverse of :func:`to_feature_map`.

    Args:
        maps: Shape (batch, features, height, width).
        shape: That of the values, without the batch.
    """
    return maps.movedim(1, -1).reshape(len(maps), *shape)


class LastOperation(TorchFunctionMode):
    """Records whether the last operation with weights works on the last dimension, and its number of features."""

    def __init__(self) -> None:
        super().__init__()
        self.features_last: bool | None = None
        self.features = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in _FEATURES_LAST:
            self.features_last, self.features = True, output.shape[-1]
        elif func in _CHANNELS_FIRST:
            self.features_last, self.features = False, output.shape[1]
        return output

    def applies_to(self, shape: Shape) -> bool:
        """Whether an output of this shape, without the batch, has its features last.

        Of (positions, features) that is so unless the features of the last operation are the first of the two: a
        convolution or a norm over channels gave it, or it was transposed since. Of three dimensions it is so only if a
        linear operation or layer norm gave it.
        """
        if len(shape) == 2:
            transposed = self.features_last is True and self.features != shape[1]
            return not ((self.features_last is False or transposed) and self.features == shape[0])
        return len(shape) == 3 and self.features_last is True and shape[-1] == self.features != shape[0]
