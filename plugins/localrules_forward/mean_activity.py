"""How active each unit is on average, over the steps."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MeanActivity(nn.Module):
    """The running mean of each unit's activity; a channel counts as a unit.

    Args:
        units: How many.
        momentum: Share of the mean so far in the next one.
    """

    mean: Tensor

    def __init__(self, units: int, momentum: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((units,), 0.5))
        self._momentum = momentum

    def forward(self, output: Tensor) -> Tensor:
        """The mean with this batch counted in, shape (units,); its gradient is that of the batch's share."""
        now = output.transpose(0, 1).flatten(1).mean(1)
        mean = self._momentum * self.mean + (1 - self._momentum) * now
        self.mean = mean.detach()
        return mean
