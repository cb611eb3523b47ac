"""All metrics of a scored split, those that flatter beside those that do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from localrules.data.dataset import Dataset
from localrules.data.duplicates import duplicate_mask
from localrules.engine.scores import Scores


def compute_metrics(data: Dataset, split: str, scores: Scores) -> dict[str, Any]:
    """All metrics of a network on a split.

    Returns:
        ``split, n, top1, balanced_accuracy, one_vs_rest_accuracy, loss``; ``top1_without_duplicates``, leaving out the
        ``n - n_without_duplicates`` samples whose pixels also occur in an earlier split; ``recalls`` by class;
        ``confusion``, a row for each label, a column for each prediction; ``expected_calibration_error`` and its bins,
        ``reliability``.

    Raises:
        DataError: There is no such split.
    """
    fresh = ~duplicate_mask(data, split)
    return {
        "split": split,
        **score_metrics(data.classes, scores),
        "top1_without_duplicates": scores.subset(fresh).top1 if bool(fresh.any()) else None,
        "n_without_duplicates": int(fresh.sum()),
    }


def score_metrics(classes: Sequence[str], scores: Scores) -> dict[str, Any]:
    """The metrics that scores alone tell.

    Args:
        classes: Label names.
        scores: Of one image or more.
    """
    calibration = Calibration.of(scores)
    return {
        "n": len(scores.labels),
        "top1": scores.top1,
        "balanced_accuracy": scores.balanced_accuracy,
        "one_vs_rest_accuracy": scores.one_vs_rest_accuracy,
        "loss": scores.loss,
        "recalls": dict(zip(classes, scores.per_class_recall.tolist(), strict=True)),
        "confusion": scores.confusion.tolist(),
        "expected_calibration_error": calibration.error,
        "reliability": calibration.as_dicts(),
    }


BINS = 15  # Guo et al.'s


@dataclass(frozen=True)
class Bin:
    """The images whose confidence lies above ``low`` and not above ``high``.

    Attributes:
        low, high: The bin's borders.
        n: Its images.
        confidence: Their mean confidence, ``None`` in an empty bin.
        accuracy: The fraction of them that is right, ``None`` in an empty bin.
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
        error: The expected calibration error: the mean over images of the distance between the confidence and the
            accuracy of the image's bin.
        bins: Of equal width, from 0 to 1.
    """

    error: float
    bins: tuple[Bin, ...]

    @classmethod
    def of(cls, scores: Scores, count: int = BINS) -> Calibration:
        """Sort images into bins.

        Args:
            scores: Of one image or more.
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
