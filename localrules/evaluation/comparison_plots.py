"""Several networks' scores in two tables and two images, as pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from localrules.utils.plotting import COLOURS, INK, MARKERS, MUTED, bare_axes, new_figure, plain_axes

if TYPE_CHECKING:
    from localrules.registry.entries import MetricEntry

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
RELIABILITY_CAPTION = "Accuracy against confidence, in bins; the larger a mark, the more images it stands for"
_METRICS = {
    "top-1": "top1",
    "balanced": "balanced_accuracy",
    "without duplicates": "top1_without_duplicates",
    "one against rest": "one_vs_rest_accuracy",
    "calibration error": "expected_calibration_error",
}
_COLUMNS = 4
_ODD = 0.5  # a fraction above which white is read better than ink


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


def plot_recalls(scored: Scored) -> tuple[list[str], list[list[str | None]]]:
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


def plot_confusions(scored: Scored) -> Figure:
    """The confusion matrix of each network: the fraction of each true class in percent, over all its seeds."""
    columns = min(_COLUMNS, len(scored))
    lines = -(-len(scored) // columns)
    figure = new_figure(3.1 * columns, 3.15 * lines + 0.3)
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, (name, scores) in zip(panels[: len(scored)], scored.items(), strict=True):
        counts = np.sum([score["confusion"] for score in scores], axis=0)
        fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
        for (row, column), fraction in np.ndenumerate(fractions):
            colour = "white" if fraction > _ODD else INK
            axes.text(column, row, f"{100 * fraction:.0f}", ha="center", va="center", fontsize=6, color=colour)
        bare_axes(axes)
        axes.set_title(name, loc="left", fontsize=9, fontweight="bold", color=INK)
        classes = list(scores[0]["recalls"])
        axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor", fontsize=6)
        axes.set_yticks(range(len(classes)), classes, fontsize=6)
        axes.tick_params(length=0, colors=INK)
    for axes in panels[len(scored) :]:
        axes.set_axis_off()
    figure.supxlabel("predicted", fontsize=8, color=INK)
    figure.supylabel("true", fontsize=8, color=INK)
    return figure


def plot_reliability(scored: Scored) -> Figure:
    """Accuracy against confidence for each network, bin by bin; a mark is as large as its fraction of images."""
    figure = new_figure(5.4, 4.6)
    axes = figure.subplots()
    plain_axes(axes, "Calibration", x="confidence", y="accuracy")
    axes.plot([0, 1], [0, 1], "--", color=MUTED, linewidth=1)
    for index, (name, scores) in enumerate(scored.items()):
        confidence, accuracy, images = _pooled(scores)
        colour = COLOURS[index % len(COLOURS)]
        axes.plot(confidence, accuracy, color=colour, linewidth=1.2, label=name)
        sizes = 8 + 160 * images / images.sum()
        axes.scatter(confidence, accuracy, sizes, marker=MARKERS[index % len(MARKERS)], color=colour, linewidths=0)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    return figure


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
