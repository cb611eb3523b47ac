"""All figures of a scored split, those that flatter beside those that do not."""

from __future__ import annotations

from typing import Any

from localrules.data.dataset import DataSet
from localrules.data.duplicates import seen_before
from localrules.engine.scores import Scores
from localrules.evaluation.calibration import Calibration


def figures(data: DataSet, split: str, scores: Scores) -> dict[str, Any]:
    """What a network's answers to a split come to.

    Returns:
        ``split, n, top1, balanced_accuracy, one_vs_rest_accuracy, loss``; ``top1_without_duplicates``, leaving out the
        ``n - n_without_duplicates`` rows whose pixels also occur in an earlier split; ``recalls`` by class;
        ``confusion``, rows by label, columns by prediction; ``expected_calibration_error`` and its bins,
        ``reliability``.

    Raises:
        DataError: There is no such split.
    """
    fresh = ~seen_before(data, split)
    calibration = Calibration.of(scores)
    return {
        "split": split,
        "n": len(scores.labels),
        "top1": scores.top1,
        "balanced_accuracy": scores.balanced_accuracy,
        "one_vs_rest_accuracy": scores.one_vs_rest_accuracy,
        "top1_without_duplicates": scores.only(fresh).top1 if bool(fresh.any()) else None,
        "n_without_duplicates": int(fresh.sum()),
        "loss": scores.loss,
        "recalls": dict(zip(data.classes, scores.recalls.tolist(), strict=True)),
        "confusion": scores.confusion.tolist(),
        "expected_calibration_error": calibration.error,
        "reliability": calibration.as_dicts(),
    }
