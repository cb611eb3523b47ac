"""Points of known classes beside a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Proxies(nn.Module):
    """Points of known classes that learn where their class is projected to.

    Beside a batch they say where its classes lay in the batches before: a few dozen samples alone know that badly.

    Args:
        classes: How many labels there are.
        each: Points of each class.
        features: Of a projected sample.

    Attributes:
        labels: Shape (classes * each,), integers.
        points: Shape (classes * each, features).
    """

    labels: Tensor

    def __init__(self, classes: int, each: int, features: int) -> None:
        super().__init__()
        self.register_buffer("labels", torch.arange(classes).repeat(each), persistent=False)
        self.points = nn.Parameter(torch.randn(classes * each, features))

    def forward(self, projected: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A projected batch, (batch, features), with its labels, and the points behind it with theirs."""
        return torch.cat([projected, self.points]), torch.cat([labels, self.labels])
