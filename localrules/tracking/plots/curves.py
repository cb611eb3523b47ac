"""Charts of a run: its curves and its confusion matrix."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from localrules.tracking.metrics_table import Curve, MetricsTable
from localrules.utils.formatting import format_metric
from localrules.utils.palette import INK, MUTED, TRAIN, VALID
from localrules.utils.plotting import depth_colours, new_figure, plain_axes, save_figure

_NAMED_LAYERS = 30  # more names than this do not fit beside a chart


def plot_curves(metrics_csv: Path, out: Path, *, of: str = "") -> Path:
    """Draw loss, accuracy and the objective of every layer against steps.

    Args:
        metrics_csv: A run's ``metrics.csv``; also one that has no row yet, or whose last line a kill cut in two.
        out: The PNG file.
        of: Rule, model, data and seed, in small print.

    Returns:
        ``out``.
    """
    table = MetricsTable(metrics_csv)
    layers = table.objectives()
    figure = new_figure(13 if layers else 8.5, 3.9)
    panels = figure.subplots(1, 3 if layers else 2, width_ratios=[1, 1, 1.35] if layers else [1, 1])
    plain_axes(panels[0], "Loss of the readout", x="step")
    plain_axes(panels[1], "Accuracy", x="step")
    _plot_pair(panels[0], table.curve("loss"), table.curve("valid_loss"))
    _plot_pair(panels[1], table.curve("accuracy"), table.curve("valid_accuracy"))
    panels[1].set_ylim(0, 1)
    if layers:
        plain_axes(panels[2], "Objective of each layer", x="step")
        _objectives(panels[2], layers)
    return save_figure(figure, out, of=of)


def plot_confusion(matrix: ArrayLike, classes: Sequence[str], out: Path, *, of: str = "") -> Path:
    """Draw a confusion matrix: counts, coloured by their fraction of the true class.

    Args:
        matrix: Counts, shape (classes, classes); rows are true, columns predicted.
        classes: Label names.
        out: The PNG file.
        of: Rule, model, data, seed and split, in small print.

    Returns:
        ``out``.
    """
    counts = np.asarray(matrix)
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(4.2, 0.62 * len(classes) + 1.9)
    figure = new_figure(size, size * 0.94)
    axes = figure.subplots()
    axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape) if len(classes) <= 25 else ():
        strong = fractions[row, column] > 0.5
        axes.text(
            column,
            row - 0.12,
            f"{100 * fractions[row, column]:.0f} %",
            ha="center",
            va="center",
            fontsize=9,
            fontweight="bold" if row == column else "normal",
            color="white" if strong else INK,
        )
        count_colour = "#d6e4f2" if strong else MUTED
        axes.text(column, row + 0.22, f"{counts[row, column]:,}", ha="center", fontsize=6.5, color=count_colour)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=40, ha="right", rotation_mode="anchor", fontsize=9, parse_math=False)
    axes.set_yticks(ticks, classes, fontsize=9, parse_math=False)
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", color=INK)
    axes.set_ylabel("true", color=INK)
    correct = np.trace(counts) / max(1, counts.sum())
    axes.set_title(f"{100 * correct:.1f} % of {counts.sum():,} right", loc="left", fontsize=11, fontweight="bold")
    return save_figure(figure, out, of=of)


def _plot_pair(axes: Axes, train: Curve | None, valid: Curve | None) -> None:
    if train is not None:
        axes.plot(train.steps, train.values, color=TRAIN, linewidth=0.8, alpha=0.3)
        axes.plot(train.steps, train.smoothed().values, color=TRAIN, linewidth=1.8, label="train batch")
    if valid is not None:
        axes.plot(valid.steps, valid.values, "o-", color=VALID, markersize=4.5, linewidth=1.8, label="valid", zorder=3)
        axes.annotate(
            f"{valid.values[-1]:.3f}",
            (valid.steps[-1], valid.values[-1]),
            xytext=(2, -15),
            textcoords="offset points",
            ha="right",
            color=VALID,
            fontsize=9,
            fontweight="bold",
        )
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)


def _objectives(axes: Axes, layers: dict[str, Curve]) -> None:
    # Each against where it began, in units of how far it went: layers whose objectives differ by orders of
    # magnitude, or in sign, can be seen in one chart. The legend has where they began and ended.
    colours = depth_colours(len(layers))
    for curve, colour in zip(layers.values(), colours, strict=True):
        axes.plot(curve.steps, curve.change().values, color=colour, linewidth=1.2, alpha=0.9)
    axes.set_ylabel("change since the start, as a fraction of its range", color=INK, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if len(layers) <= _NAMED_LAYERS:
        lines = [Line2D([], [], color=to_rgba(colour), linewidth=2) for colour in colours]
        axes.legend(
            lines,
            [_with_ends(layer, curve) for layer, curve in layers.items()],
            frameon=False,
            fontsize=6.5,
            labelcolor=INK,
            loc="center left",
            bbox_to_anchor=(1.0, 0.5),
            ncols=math.ceil(len(layers) / 18),
            handlelength=1.2,
            labelspacing=0.35,
        )
        return
    depth = ScalarMappable(Normalize(0, len(layers) / 0.9), "viridis")
    axes.figure.colorbar(depth, ax=axes, label="layer, from the input", fraction=0.05)


def _with_ends(layer: str, curve: Curve) -> str:
    return f"{layer}: {format_metric(curve.ends[0])} to {format_metric(curve.ends[1])}" if curve.ends else layer
