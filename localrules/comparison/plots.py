"""Learning curves of several rules in one image: told apart by colour, by marker and by name at the line's end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from localrules.comparison.results import RuleResult
from localrules.errors import UsageError, error_text, shorten
from localrules.tracking.run_folder import METRICS
from localrules.utils.plotting import COLOURS, INK, MARKERS, MUTED, new_figure, plain_axes

_GAP = 0.055  # between two names, as a fraction of the chart's height


@dataclass(frozen=True)
class _Curve:
    """Accuracy on the valid split at each evaluation: mean, least and most over seeds."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def learning_curves(results: Sequence[RuleResult]) -> Figure:
    """Accuracy on the valid split against steps, and against seconds of training; the band is the range of seeds."""
    figure = new_figure(12.5, 4.6)
    panels = figure.subplots(1, 2, sharey=True)
    plain_axes(panels[0], "Valid accuracy against steps", x="step")
    plain_axes(panels[1], "Valid accuracy against time in training steps", x="seconds")
    panels[0].xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for axes in panels:
        ends = []
        for index, one in enumerate(results):
            curve, pace = _curve(one), one.step_seconds if axes is panels[1] else 1.0
            if curve is None or pace is None:
                continue
            _plot_curve(axes, curve, pace, index)
            ends.append((curve.steps[-1] * pace, curve.mean[-1], one.label))
        _draw_chance_line(axes, results)
        _label_curve_ends(axes, ends)
    return figure


def _curve(one: RuleResult) -> _Curve | None:
    tables = [_read_metrics(run.folder / METRICS) for run in one.runs]
    if not tables:
        return None
    # What is not a number is what a kill left of a line.
    points = pd.concat(tables).apply(pd.to_numeric, errors="coerce").dropna()
    seeds = points.groupby("step")["valid_accuracy"]
    if not len(points):
        return None
    found = seeds.agg(["mean", "min", "max"])
    return _Curve(found.index.to_numpy(), found["mean"].to_numpy(), found["min"].to_numpy(), found["max"].to_numpy())


def _read_metrics(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path, usecols=["step", "valid_accuracy"])
    except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise UsageError(
            "the run's metrics cannot be read",
            where=str(path),
            why=shorten(error_text(error)),
            fix="put the file back as the run left it, or leave this run out",
        ) from error


def _plot_curve(axes: Axes, curve: _Curve, pace: float, index: int) -> None:
    colour = COLOURS[index % len(COLOURS)]
    x = curve.steps * pace
    axes.fill_between(x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
    few = max(1, len(x) // 12)  # a marker on every point of a long curve would hide it
    axes.plot(
        x,
        curve.mean,
        color=colour,
        marker=MARKERS[index % len(MARKERS)],
        markevery=slice((len(x) - 1) % few, None, few),
        markersize=5.5,
        linewidth=1.8,
        zorder=3,
    )


def _draw_chance_line(axes: Axes, results: Sequence[RuleResult]) -> None:
    """The height that always answering the majority class reaches."""
    fractions = {run.summary["majority_share"] for one in results for run in one.runs}
    if len(fractions) == 1:
        fraction = fractions.pop()
        axes.axhline(fraction, color=MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        axes.annotate(
            "always the majority class",
            (0.995, fraction),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
            color=MUTED,
        )


def _label_curve_ends(axes: Axes, ends: list[tuple[float, float, str]]) -> None:
    """Each curve's name behind its last point; names that would lie on each other are moved apart."""
    low, high = axes.get_ylim()
    gap, place = _GAP * (high - low), -np.inf
    for x, y, label in sorted(ends, key=lambda end: end[1]):
        place = max(y, place + gap)
        axes.annotate(
            label,
            (x, place),
            xytext=(9, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
            color=INK,
            annotation_clip=False,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.7},
        )
