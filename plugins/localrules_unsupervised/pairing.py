"""Pairs of different samples of a batch."""

from __future__ import annotations

import torch
from torch import Tensor


def other_samples(count: int, device: torch.device) -> Tensor:
    """For each of some samples the index of another one, each taken once; drawn at random.

    Each sample draws a number, and is paired with that of the next larger one, so that pairs do not depend on the order
    of a batch.

    Args:
        count: Of samples; a single one is paired with itself.
        device: Of the result.
    """
    order = torch.rand(count, device=device).argsort()
    others = torch.empty_like(order)
    others[order] = order.roll(-1)
    return others
