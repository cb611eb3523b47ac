"""How large feedback weights are: as large as forward ones when they are initialised."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Init = Literal["xavier", "kaiming"]


def spread(weight: Tensor, init: Init) -> float:
    """The standard deviation of an initialisation for weights of this shape, (units, inputs, ...).

    ``xavier``: 2 / (fan in + fan out) is its square (Glorot & Bengio). ``kaiming``: 1 / (3 fan in) is, as for
    torch's own fully connected layers and convolutions.
    """
    field = weight[0, 0].numel()
    fan_in, fan_out = weight.shape[1] * field, weight.shape[0] * field
    return float((2 / (fan_in + fan_out) if init == "xavier" else 1 / (3 * fan_in)) ** 0.5)


def draw_like(weight: Tensor, init: Init) -> Tensor:
    """Weights of the same shape and memory layout, from the uniform distribution of that spread around zero."""
    bound = 3**0.5 * spread(weight, init)
    return torch.empty_like(weight).uniform_(-bound, bound)
