"""Fixed random matrices from classes to what a layer gives."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from localrules.core.layer import Shape


def random_patterns(num_classes: int, shape: Shape) -> Tensor:
    """A random pattern over a layer's outputs for each class, of length 1 on average: however large the layer, an error
    gives a signal of its own length.

    Args:
        num_classes: How many.
        shape: Of the layer's output, without the batch.

    Returns:
        Shape (num_classes, *shape), normal.
    """
    return torch.randn(num_classes, *shape) / math.sqrt(math.prod(shape))
