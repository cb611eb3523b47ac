"""Results of an epoch that are more than numbers, for callbacks that draw or send them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


_PART = 2**20  # values that are counted at a time


@dataclass(frozen=True)
class Histogram:
    """The distribution of a tensor's finite values over bins of equal width.

    Attributes:
        low, high: The least and the greatest value.
        counts: Values in each bin, from low to high.
    """

    low: float
    high: float
    counts: tuple[int, ...]

    @property
    def edges(self) -> list[float]:
        """The borders of the bins: one more than there are bins."""
        count = len(self.counts)
        return [self.low + (self.high - self.low) * place / count for place in range(count + 1)]

    @classmethod
    def of(cls, values: Tensor, bins: int = 64) -> Histogram | None:
        """The histogram of a tensor; ``None`` if nothing in it is finite."""
        import torch

        finite = values.detach().flatten().float()
        finite = finite[finite.isfinite()].cpu()
        if not len(finite):
            return None
        low, high = (float(end) for end in finite.aminmax())
        if low == high:  # such as biases before the first step
            high = low + max(abs(low), 1.0) * 1e-6
        if max(high, high - low) > torch.finfo(torch.float32).max:
            finite = finite.double()
        # In parts, since the counts of histc are float32, which stop at 2^24.
        counts = torch.stack([torch.histc(part, bins, low, high).long() for part in finite.split(_PART)]).sum(0)
        return cls(low, high, tuple(counts.tolist()))


@dataclass(frozen=True)
class EpochResults:
    """Predictions for the valid split, and histograms.

    Attributes:
        step: Steps done.
        epoch: Epochs done.
        logits: float32, shape (samples, classes); ``None`` where the data set has no valid split.
        labels: int64, shape (samples,).
        rows: A few samples, evenly spread over the split, by their row in ``logits``: int64, shape (shown,).
        images: Those samples, uint8, shape (shown, channels, height, width). Where the data may not be redistributed
            (``RunInfo.redistributable``), they must not leave the machine.
        histograms: By ``weights/<layer>``, ``gradients/<layer>`` and ``activations/<layer>``, if the run has
            ``diagnostics=histograms``.
    """

    step: int
    epoch: float
    logits: Tensor | None = None
    labels: Tensor | None = None
    rows: Tensor | None = None
    images: Tensor | None = None
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
