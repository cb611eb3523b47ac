"""The part of a training batch that a process holds."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


class BatchPart:
    """The part of a training batch that this process holds: all of it, unless the engine divides batches.

    Every method is then the identity, or draws as torch does.

    Attributes:
        index: Which part, counted from 0.
        count: Number of parts.
    """

    index: int = 0
    count: int = 1

    def sizes(self, total: int) -> list[int]:
        """The number of samples in each part of ``total``, which differ by one at most."""
        return [total // self.count + (part < total % self.count) for part in range(self.count)]

    def bounds(self, total: int) -> slice:
        """Which of ``total`` samples belong to this part."""
        sizes = self.sizes(total)
        start = sum(sizes[: self.index])
        return slice(start, start + sizes[self.index])

    def take(self, values: Tensor) -> Tensor:
        """This part of the values of a whole batch, shape (batch, ...)."""
        return values if self.count == 1 else values[self.bounds(len(values))]

    def gather(self, values: Tensor, total: int | None = None) -> Tensor:
        """The values of the whole batch, with gradients.

        Args:
            values: Of this part's samples, shape (samples, ...).
            total: Samples of the whole batch; by default every part has as many as this one.

        Returns:
            Shape (total, ...).
        """
        return values

    def average(self, statistic: Tensor) -> Tensor:
        """The mean over all parts of a statistic, without gradient; they have equally many samples."""
        return statistic

    def undivided(self) -> AbstractContextManager[None]:
        """A context for what is computed from the whole batch, in which layers do not expect a part of it."""
        return nullcontext()

    def randn_like(self, values: Tensor) -> Tensor:
        """Standard normal numbers shaped like ``values``, (samples, ...): those that one process would have drawn."""
        if self.count == 1:
            return torch.randn_like(values)
        return self.take(torch.randn_like(whole_like(values, self.count)))


WHOLE = BatchPart()
"""The part of a process that holds whole batches."""


def whole_like(values: Tensor, count: int) -> Tensor:
    """An uninitialised tensor for the whole batch, (count * samples, ...), in the memory layout of ``values``."""
    shape = (count * len(values), *values.shape[1:])
    whole = values.new_empty(shape)
    if values.dim() == 4 and values.is_contiguous(memory_format=torch.channels_last) and not values.is_contiguous():
        return whole.contiguous(memory_format=torch.channels_last)
    return whole
