"""Several networks' scores in two tables and two kinds of charts, as pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from localrules.reports.charts import HeatMap, Series, XYChart
from localrules.reports.html import Keyed, Page, muted, strong
from localrules.reports.scales import Axis

if TYPE_CHECKING:
    from localrules.registry.entries import MetricEntry
    from localrules.reports.html import Cell

Score = Mapping[str, Any]
"""What :func:`~localrules.runs.evaluate.evaluate_split` returns: its ``metrics``."""
Scored = Mapping[str, Sequence[Score]]
"""Of each network, by its name: the scores of its runs, one a seed, on one split."""

CAPTION = (
    "Of the last weights, in percent, mean over seeds. Balanced: the mean of the classes' recalls. Without duplicates: "
    "top-1 without rows whose pixels also occur in an earlier split. One against rest: the mean over classes of 'this "
    "class or not'; it flatters. Calibration error: the distance between confidence and accuracy"
)
RECALLS_CAPTION = "Per-class recall in percent, mean over seeds"
CONFUSIONS_CAPTION = "Confusion matrices: of each true class, the fraction in percent that was taken for which"
CALIBRATION_CAPTION = (
    "Accuracy against confidence, in bins; the larger a mark, the more images it stands for. Bins without images are "
    "left out; on the dashed line a network is right as often as it says"
)
_METRICS = {
    "top-1": "top1",
    "balanced": "balanced_accuracy",
    "without duplicates": "top1_without_duplicates",
    "one against rest": "one_vs_rest_accuracy",
    "calibration error": "expected_calibration_error",
}


def add_evaluation(
    page: Page,
    scored: Scored,
    metrics: Mapping[str, MetricEntry] | None = None,
    styles: Mapping[str, int] | None = None,
) -> None:
    """Add a section with all of it to a page; nothing where there are no scores.

    Args:
        page: The page.
        scored: The scores.
        metrics: The plugins' metrics by name.
        styles: The style of each network in the page's other charts, by its name.
    """
    if not scored:
        return
    page.heading("Evaluation")
    for (head, rows), caption in (
        (score_table(scored, metrics), CAPTION),
        (recall_table(scored), RECALLS_CAPTION),
    ):
        page.table(head, [_cells(row) for row in rows], align="l" + "r" * (len(head) - 1), caption=f"{caption}.")
    page.charts([calibration_chart(scored, styles)], caption=f"{CALIBRATION_CAPTION}.")
    page.charts(confusion_charts(scored), caption=f"{CONFUSIONS_CAPTION}.")


def _cells(row: Sequence[str | None]) -> list[Cell]:
    name, *others = row
    return [strong(name or ""), *(Keyed(muted("-"), None) if cell is None else cell for cell in others)]


def score_table(
    scored: Scored, metrics: Mapping[str, MetricEntry] | None = None
) -> tuple[list[str], list[list[str | None]]]:
    """All metrics that are not lists: head and a row for each network.

    The columns of plugins' metrics follow where one was computed. Where a score was so good that leaks were looked for,
    a last column says what was found.

    Args:
        scored: The scores.
        metrics: The plugins' metrics by name.
    """
    head = ["", "split", "images", *_METRICS]
    rows: list[list[str | None]] = [
        [
            name,
            scores[0]["split"],
            f"{scores[0]['n']}",
            *(_percent([score[metric] for score in scores]) for metric in _METRICS.values()),
        ]
        for name, scores in scored.items()
    ]
    for name, entry in (metrics or {}).items():
        if any(score.get(name) for scores in scored.values() for score in scores):
            head += [column.title for column in entry.columns]
            rows = [[*row, *_metric_cells(entry, scores)] for row, scores in zip(rows, scored.values(), strict=True)]
    doubts = [
        next((leak_message(score) for score in scores if score.get("leak_check")), None) for scores in scored.values()
    ]
    if any(doubts):
        head.append("leak check")
        rows = [[*row, found] for row, found in zip(rows, doubts, strict=True)]
    return head, rows


def recall_table(scored: Scored) -> tuple[list[str], list[list[str | None]]]:
    """The recall of each class: head and a row for each network; nothing where a network knows no such class."""
    names = list(dict.fromkeys(name for scores in scored.values() for name in scores[0]["recalls"]))
    rows = [
        [label, *(_percent([score["recalls"].get(name) for score in scores]) for name in names)]
        for label, scores in scored.items()
    ]
    return ["", *names], rows


def leak_message(score: Score) -> str:
    """The result of a leak check, in a line."""
    check = score["leak_check"]
    if "not_done" in check:
        return f"top-1 {_percent([score['top1']])}; the leak check could not be done: {check['not_done']}"
    known = check["rows"] - check["n_clean"]
    without = f"; top-1 without them {_percent([check['top1_clean']])}" if check["n_clean"] else ""
    return f"{known} of {check['rows']} rows are known from training{without}"


def confusion_charts(scored: Scored) -> list[HeatMap]:
    """The confusion matrix of each network: the fraction of each true class in percent, over all its seeds."""
    charts = []
    for name, scores in scored.items():
        counts = np.sum([score["confusion"] for score in scores], axis=0)
        fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        classes = tuple(scores[0]["recalls"])
        images = counts.sum() // len(scores)
        charts.append(
            HeatMap(
                f"{name}: {100 * np.trace(counts) / max(1, counts.sum()):.1f} % of {images:,} images right",
                classes,
                classes,
                tuple(map(tuple, fractions.tolist())),
                Axis("of the true class", percent=True, low=0.0, high=1.0),
                "predicted",
                "true",
                tuple(tuple(f"{100 * value:.0f}" for value in row) for row in fractions.tolist()),
            )
        )
    return charts


def calibration_chart(scored: Scored, styles: Mapping[str, int] | None = None) -> XYChart:
    """Accuracy against confidence for each network, bin by bin; a mark is as large as its fraction of images.

    Args:
        scored: The scores.
        styles: The style of each network, by its name; in the order of the scores if None.
    """
    styles = {name: index for index, name in enumerate(scored)} if styles is None else styles
    series = []
    for name, scores in scored.items():
        x, y, images = _pooled(scores).tolist()
        series.append(Series(name, x, y, styles[name], sizes=images))
    x_axis, y_axis = (Axis(label, percent=True, low=0.0, high=1.0) for label in ("confidence", "accuracy"))
    return XYChart("Calibration", x_axis, y_axis, series, diagonal=True)


def _metric_cells(entry: MetricEntry, scores: Sequence[Score]) -> list[str | None]:
    found = [score[entry.name] for score in scores if score.get(entry.name)]
    if not found:
        return [None] * len(entry.columns)
    values = {column: [values[column.key] for values in found] for column in entry.columns}
    return [_percent(each) if column.is_fraction else f"{mean(each):.3f}" for column, each in values.items()]


def _pooled(scores: Sequence[Score]) -> np.ndarray:
    """Confidence, accuracy and images of each bin that has some, over all seeds: shape (3, bins)."""
    found = []
    for bins in zip(*(score["reliability"] for score in scores), strict=True):
        full = [item for item in bins if item["n"]]
        n = sum(item["n"] for item in full)
        if n:
            found.append([*(sum(item[key] * item["n"] for item in full) / n for key in ("confidence", "accuracy")), n])
    return np.array(found).T


def _percent(values: Sequence[float | None]) -> str | None:
    known = [value for value in values if value is not None and value == value]
    return f"{100 * mean(known):.1f}" if known else None
