"""Fixed random projections from classes to a layer's output."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from localrules.core.layer import Shape


def random_patterns(num_classes: int, shape: Shape) -> Tensor:
    """A random pattern over a layer's output for each class, of length 1 on average: however large the layer, the
    signal is about as long as the error.

    Args:
        num_classes: Number of classes.
        shape: Shape of the layer's output, without the batch.

    Returns:
        Normal, shape (num_classes, *shape).
    """
    return torch.randn(num_classes, *shape) / math.sqrt(math.prod(shape))
