"""Charts of a network's predictions: confusion, recall of each class, calibration, and some predictions one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from localrules.engine.scores import Scores
from localrules.evaluation.metrics import Calibration
from localrules.tracking.charts import Chart

if TYPE_CHECKING:
    from localrules.callbacks.results import EpochResults

PREDICTIONS = "charts/predictions"


def charts_of_scores(scores: Scores, classes: Sequence[str]) -> list[Chart]:
    """The confusion matrix, each class's recall, and calibration."""
    return charts_of_metrics(
        {
            "confusion": scores.confusion.tolist(),
            "recalls": dict(zip(classes, scores.per_class_recall.tolist(), strict=True)),
            "reliability": Calibration.of(scores).as_dicts(),
        }
    )


def charts_of_metrics(metrics: Mapping[str, Any]) -> list[Chart]:
    """The same of what :func:`~localrules.evaluation.metrics.compute_metrics` has found."""
    recalls: Mapping[str, float] = metrics["recalls"]
    names = list(recalls)
    confusion = [
        (label, prediction, count)
        for label, counts in zip(names, metrics["confusion"], strict=True)
        for prediction, count in zip(names, counts, strict=True)
    ]
    filled = [item for item in metrics["reliability"] if item["n"]]
    calibration = [(item["confidence"], item["accuracy"], item["n"]) for item in filled]
    axes = ("predicted", "actual", "samples")
    return [
        Chart("charts/confusion", "Confusion matrix", "confusion", ("actual", "predicted", "samples"), confusion, axes),
        Chart(
            "charts/recall",
            "Recall of each class",
            "bar",
            ("class", "recall"),
            [(name, recall) for name, recall in recalls.items() if recall == recall],  # NaN: a class without samples
            ("class", "recall"),
        ),
        Chart(
            "charts/calibration",
            "Accuracy against confidence",
            "line",
            ("confidence", "accuracy", "samples"),
            calibration,
            ("confidence", "accuracy"),
        ),
    ]


def prediction_table(results: EpochResults, classes: Sequence[str]) -> Chart:
    """The samples of ``results.rows``: their row in the split, label, prediction, its probability, and its correctness.

    Raises:
        ValueError: The results have no predictions.
    """
    if results.logits is None or results.labels is None or results.rows is None:
        raise ValueError("the data set has no valid split")
    scores = Scores(results.logits[results.rows], results.labels[results.rows])
    rows = [
        (row, classes[label], classes[prediction], confidence, label == prediction)
        for row, label, prediction, confidence in zip(
            results.rows.tolist(),
            scores.labels.tolist(),
            scores.predictions.tolist(),
            scores.probabilities.amax(1).tolist(),
            strict=True,
        )
    ]
    return Chart(PREDICTIONS, "Predictions", "table", ("row", "label", "prediction", "confidence", "right"), rows)
