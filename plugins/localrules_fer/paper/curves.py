"""Learning curves of cases: against steps, seconds and MACs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from localrules.benchmark.flops import CostSegment
from localrules.comparison.run_record import RunRecord
from localrules.tracking.run_folder import METRICS
from localrules.utils.palette import COLOURS, INK, MARKERS
from localrules.utils.plotting import new_figure, plain_axes, save_figure

LINES, PART = 10, 25  # a running mean is over so many logged lines, or so small a part of the curve if that is more
NEARLY = 0.95  # of its last accuracy: from there on a curve is taken to have converged
LEVELS = 0.05  # accuracies at which curves are held against each other are multiples of it
HIGHEST = 4.0  # a loss that is drawn: guessing among seven classes has 1.95, and a first step's may be millions
SERIES = ("loss", "accuracy", "valid_loss", "valid_accuracy")
STEPS, SECONDS, WORK = "step", "seconds", "macs, 10^12"


@dataclass(frozen=True)
class Curve:
    """A case's training.

    Attributes:
        label: The case's name.
        runs: For each run, what was logged: ``step``, :data:`SERIES`, and what had been spent by then, ``seconds`` of
            training steps and ``macs`` in 10^12.
    """

    label: str
    runs: list[pd.DataFrame]

    def mean(self, column: str, against: str) -> pd.Series:
        """A column's mean over runs, by what was spent."""
        points = [run[[STEPS, *{against, column} - {STEPS}]].dropna() for run in self.runs]
        if not points:
            return pd.Series(dtype=float)
        found = pd.concat(points).groupby(STEPS, as_index=False).mean()
        return pd.Series(found[column].to_numpy(), found[against].to_numpy())

    def reached(self, level: float) -> dict[str, float] | None:
        """The cost at which the running accuracy on training batches first was ``level``; ``None``: never."""
        found: dict[str, float] = {}
        for against in (STEPS, SECONDS, WORK):
            curve = running(self.mean("accuracy", against))
            enough = curve.index[curve >= level - 1e-9]  # a running mean rounds
            if not len(enough):
                return None
            found[against] = float(enough[0])
        return found


def logged(run: RunRecord, pace: float, work: Sequence[CostSegment]) -> pd.DataFrame:
    """The metrics of a run against their cost.

    Args:
        run: Finished.
        pace: Seconds a step.
        work: The MACs of its steps.
    """
    # What is not a number is what a kill left of a line, or the name of a phase.
    table = pd.read_csv(run.folder / METRICS).reindex(columns=[STEPS, *SERIES]).apply(pd.to_numeric, errors="coerce")
    table[SECONDS] = table[STEPS] * pace
    table[WORK] = sum((table[STEPS].clip(one.start, one.stop) - one.start) * one.macs for one in work) / 1e12
    return table


def converged(table: pd.DataFrame) -> int | None:
    """The first step with nearly the last running accuracy on training batches; ``None`` where few were logged."""
    points = table[[STEPS, "accuracy"]].dropna()
    curve = running(pd.Series(points["accuracy"].to_numpy(), points[STEPS].to_numpy()))
    return None if curve.empty else int(curve.index[curve >= NEARLY * curve.iloc[-1]][0])


def common_level(curves: Sequence[Curve]) -> float | None:
    """The highest accuracy, a multiple of :data:`LEVELS`, that two of the curves reach; of one curve, its own."""
    means = [running(curve.mean("accuracy", STEPS)) for curve in curves]
    highest = sorted(float(curve.max()) for curve in means if not curve.empty)
    if not highest:
        return None
    return float(np.floor(highest[-2:][0] / LEVELS + 1e-9) * LEVELS)


def running(values: pd.Series) -> pd.Series:
    """The mean of :data:`LINES` logged lines or more around each; none where there are fewer, and none at the ends.

    A line is one batch. By single batches a curve would reach whatever its luckiest one had.
    """
    return values.rolling(_window(values), center=True).mean().dropna()


def smooth(values: pd.Series) -> pd.Series:
    """The same for the eye: up to the ends, of what there is; a curve of few lines is drawn as it is."""
    return values.rolling(_window(values), center=True, min_periods=1).mean() if len(values) >= LINES else values


def _window(values: pd.Series) -> int:
    return max(LINES, len(values) // PART)


def draw_curves(curves: Sequence[Curve], out: Path) -> Path:
    """Draw accuracy against steps, seconds and MACs, and loss against steps, each the mean over runs.

    Args:
        curves: One a case.
        out: The PNG file.
    """
    figure = new_figure(11, 7.6)
    panels = figure.subplots(2, 2).flat
    shown = (("accuracy", STEPS), ("loss", STEPS), ("accuracy", SECONDS), ("accuracy", WORK))
    for axes, (name, against) in zip(panels, shown, strict=True):
        plain_axes(axes, name.capitalize(), x=against)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=against == STEPS))
        for index, curve in enumerate(curves):
            _draw(axes, curve, name, against, index)
        axes.set_ylim(0, 1 if name == "accuracy" else min(axes.get_ylim()[1], HIGHEST))
    if curves:
        handles = figure.axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=5, frameon=False, labelcolor=INK)
    return save_figure(figure, out)


def _draw(axes: Axes, curve: Curve, name: str, against: str, index: int) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    train, valid = curve.mean(name, against), curve.mean(f"valid_{name}", against)
    axes.plot(train.index, smooth(train), color=colour, linewidth=1.8, label=curve.label)
    axes.plot(valid.index, valid, marker, color=colour, markersize=5.5, markeredgecolor="white", zorder=3)


def seconds(runs: Sequence[RunRecord]) -> float:
    """The median time of a training step, mean over runs; of runs too short to time a step, all their time."""
    return mean(run.summary["step_seconds"] or run.summary["seconds"] / run.summary["steps"] for run in runs)


def spent(curves: Sequence[Curve], level: float) -> list[list[object]]:
    """For each case, what it had spent when it reached a level: ``None`` where it never did."""
    lines: list[list[object]] = []
    for curve in curves:
        found: Mapping[str, float] = curve.reached(level) or {}
        metrics = ((STEPS, 0), (SECONDS, 1), (WORK, 3))
        lines.append([curve.label, *(f"{found[key]:.{digits}f}" if key in found else None for key, digits in metrics)])
    return lines
