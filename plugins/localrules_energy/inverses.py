"""Learned inverses of layers: from a layer's output to its input."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from localrules.core.layer import Shape

Range = Literal["tanh", "elu", "linear"]


def inverse(out_shape: Shape, in_shape: Shape, last: Range) -> nn.Sequential:
    """One linear or convolution, and an activation.

    From feature map to feature map: resized to the nearest values, then a convolution of 3 x 3. From tokens to as many
    tokens: a linear on each. Otherwise a linear on all values.

    Args:
        out_shape: Shape of the layer's output, without the batch.
        in_shape: Shape of the output of the layer below.
        last: The activation at the end; ``"linear"`` for none.

    Returns:
        Takes (samples, *out_shape) to (samples, *in_shape).
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if len(out_shape) == len(in_shape) == 3:
        if out_shape[1:] != in_shape[1:]:
            parts["sized"] = nn.Upsample(size=in_shape[1:])
        parts["conv"] = nn.Conv2d(out_shape[0], in_shape[0], 3, padding=1)
    elif len(out_shape) == len(in_shape) == 2 and out_shape[0] == in_shape[0]:
        parts["linear"] = nn.Linear(out_shape[1], in_shape[1])
    else:
        parts["flat"] = nn.Flatten()
        parts["linear"] = nn.Linear(torch.Size(out_shape).numel(), torch.Size(in_shape).numel())
        parts["shaped"] = nn.Unflatten(1, in_shape)
    if last != "linear":
        parts["activation"] = nn.Tanh() if last == "tanh" else nn.ELU()
    return nn.Sequential(parts)
