"""Whether a network is as often right as it says.

References:
    Guo, Pleiss, Sun & Weinberger 2017, On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from localrules.engine.scores import Scores

BINS = 15  # Guo et al.'s


@dataclass(frozen=True)
class Bin:
    """The pictures whose confidence lies above ``low`` and not above ``high``.

    Attributes:
        low, high: The bin's borders.
        n: Its pictures.
        confidence: Their mean confidence, ``None`` in an empty bin.
        accuracy: The share of them that is right, ``None`` in an empty bin.
    """

    low: float
    high: float
    n: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """Confidence, the probability of the answer that is given, against accuracy.

    Attributes:
        error: The expected calibration error: the mean over pictures of the distance between the confidence and the
            accuracy of the picture's bin.
        bins: Of equal width, from 0 to 1.
    """

    error: float
    bins: tuple[Bin, ...]

    @classmethod
    def of(cls, scores: Scores, count: int = BINS) -> Calibration:
        """Sort pictures into bins.

        Args:
            scores: Of one picture or more.
            count: Bins of equal width.
        """
        confidence = scores.probabilities.amax(1)
        right = (scores.predictions == scores.labels).double()
        # A confidence on a border belongs to the bin below it, so that a confidence of 1 has a bin.
        place = (confidence * count).ceil().long().sub(1).clamp(0, count - 1)
        sizes = torch.bincount(place, minlength=count)
        sums = torch.bincount(place, confidence, minlength=count)
        hits = torch.bincount(place, right, minlength=count)
        bins = tuple(
            Bin(index / count, (index + 1) / count, n, total / n if n else None, found / n if n else None)
            for index, (n, total, found) in enumerate(zip(sizes.tolist(), sums.tolist(), hits.tolist(), strict=True))
        )
        return cls(float((sums - hits).abs().sum() / len(right)), bins)

    def as_dicts(self) -> list[dict[str, Any]]:
        """The bins as plain values."""
        return [asdict(item) for item in self.bins]
