"""Learned inverses of layers: from what a layer gives back to what it reads."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from localrules.core.layer import Shape

Range = Literal["tanh", "linear"]


def inverse(gives: Shape, reads: Shape, last: Range) -> nn.Sequential:
    """One matrix or convolution, and the activation of the layer below.

    From maps to maps: brought to size by the nearest values, then a convolution of 3 x 3. Otherwise a matrix.

    Args:
        gives: Shape of what the layer gives, without the batch.
        reads: Shape of what the layer below gives.
        last: What follows.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if len(gives) == len(reads) == 3:
        if gives[1:] != reads[1:]:
            parts["sized"] = nn.Upsample(size=reads[1:])
        parts["conv"] = nn.Conv2d(gives[0], reads[0], 3, padding=1)
    else:
        parts["flat"] = nn.Flatten()
        parts["linear"] = nn.Linear(torch.Size(gives).numel(), torch.Size(reads).numel())
        parts["shaped"] = nn.Unflatten(1, reads)
    if last == "tanh":
        parts["activation"] = nn.Tanh()
    return nn.Sequential(parts)
