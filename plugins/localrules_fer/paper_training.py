"""How rows were trained: curves of accuracy and loss, and what they came to beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from localrules.compare.charts import COLOURS, MARKERS
from localrules.compare.runs import Run
from localrules.reproduce.exhibition import Exhibition
from localrules.reproduce.outcome import Outcome, scored
from localrules.tracking.figures import INK, new_figure, plain_axes, save
from localrules.tracking.run_folder import METRICS

NEARLY = 0.95  # of its last accuracy: from there on a curve is taken to have converged
HIGHEST = 4.0  # a loss that is drawn: guessing among seven classes has 1.95, and a first step's may be millions
_CURVES = ("loss", "accuracy", "valid_loss", "valid_accuracy")


@dataclass(frozen=True)
class Line:
    """A row's line in a chart.

    Attributes:
        label: The row's name.
        runs: The metrics of its runs.
        pace: Seconds a step.
    """

    label: str
    runs: list[pd.DataFrame]
    pace: float


def show_training(exhibition: Exhibition) -> None:
    """Curves against steps, their numbers, and a table of what the rows came to."""
    lines = [
        Line(outcome.row.name, [_metrics(run) for run in outcome.runs], seconds(outcome.runs))
        for outcome in exhibition.outcomes
        if outcome.runs
    ]
    exhibition.picture(
        "curves",
        "Accuracy and loss against steps, and accuracy against seconds of training steps: lines on training batches, "
        f"smoothed; marks on the valid split; no loss above {HIGHEST:g} is drawn",
        lambda path: draw_curves(lines, path),
    )
    exhibition.table("curves", "", ["row", "seed", "step", *_CURVES], _numbers(exhibition.outcomes), shown=False)
    exhibition.table(
        "measures",
        "Accuracies in percent, of the last weights, mean over seeds. Over-fitting: train less test. One against rest: "
        f"the mean accuracy of seven yes-or-no questions. Converged: the first step with {NEARLY:.0%} of the last "
        "accuracy on training batches",
        [
            "",
            "train",
            "valid",
            "test",
            "over-fitting",
            "one against rest",
            "converged",
            "s a step",
            "MiB",
            "M parameters",
        ],
        [measures(outcome, exhibition) for outcome in exhibition.outcomes],
    )


def measures(outcome: Outcome, exhibition: Exhibition) -> list[str | None]:
    """What a row came to, in the order of the table."""
    runs = outcome.runs
    if not runs:
        return [outcome.row.name, *[None] * 9]
    has = exhibition.data.splits
    tests = [scored(run, "test", exhibition.data, exhibition.registry) for run in runs] if "test" in has else []
    train = 100 * mean(run.summary["train_accuracy"] for run in runs)
    test = 100 * mean(score["top1"] for score in tests) if tests else None
    one_against_rest = 100 * mean(score["one_vs_rest_accuracy"] for score in tests) if tests else None
    valid = 100 * mean(run.summary["valid_accuracy"] for run in runs) if "valid" in has else None
    steps = [step for step in (converged(_metrics(run)) for run in runs) if step is not None]
    return [
        outcome.row.name,
        _percent(train),
        _percent(valid),
        _percent(test),
        None if test is None else f"{train - test:+.1f}",
        _percent(one_against_rest),
        f"{mean(steps):.0f}" if steps else None,
        f"{seconds(runs):.4f}",
        f"{max(run.summary['peak_memory_mib'] for run in runs):.0f}",
        f"{runs[0].summary['parameters'] / 1e6:.2f}",
    ]


def seconds(runs: Sequence[Run]) -> float:
    """The median time of a training step, mean over runs; of runs too short to time a step, all their time."""
    return mean(run.summary["step_seconds"] or run.summary["seconds"] / run.summary["steps"] for run in runs)


def converged(table: pd.DataFrame) -> int | None:
    """The first logged step with nearly the last accuracy on training batches; ``None`` where none was logged."""
    points = table[["step", "accuracy"]].dropna()
    if points.empty:
        return None
    smooth = _smooth(points["accuracy"])
    return int(points["step"].to_numpy()[np.argmax(smooth >= NEARLY * smooth[-1])])


def draw_curves(lines: Sequence[Line], out: Path) -> Path:
    """Draw accuracy and loss against steps, and accuracy against seconds, each the mean over runs.

    Args:
        lines: One a row.
        out: The PNG file.
    """
    figure = new_figure(15, 4.6)
    panels = figure.subplots(1, 3)
    for axes, (name, x) in zip(panels, (("accuracy", "step"), ("loss", "step"), ("accuracy", "seconds")), strict=True):
        plain_axes(axes, name.capitalize(), x=x)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=x == "step"))
        for index, line in enumerate(lines):
            _draw(axes, line, name, 1.0 if x == "step" else line.pace, index)
        axes.set_ylim(0, 1 if name == "accuracy" else min(axes.get_ylim()[1], HIGHEST))
    if lines:
        figure.legend(
            *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, labelcolor=INK
        )
    return save(figure, out)


def _draw(axes: Axes, line: Line, name: str, pace: float, index: int) -> None:
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    train, valid = _mean(line.runs, name), _mean(line.runs, f"valid_{name}")
    axes.plot(train.index * pace, _smooth(train), color=colour, linewidth=1.8, label=line.label)
    axes.plot(valid.index * pace, valid, marker, color=colour, markersize=5.5, markeredgecolor="white", zorder=3)


def _mean(runs: list[pd.DataFrame], column: str) -> pd.Series:
    """A column's mean over runs, by step."""
    points = [run[["step", column]].dropna() for run in runs if column in run]
    return pd.concat(points).groupby("step")[column].mean() if points else pd.Series(dtype=float)


def _smooth(values: pd.Series) -> np.ndarray:
    window = max(1, len(values) // 25)
    return values.rolling(window, min_periods=1, center=True).mean().to_numpy()


def _metrics(run: Run) -> pd.DataFrame:
    # What is no number is what a kill left of a line, or the name of a phase.
    table = pd.read_csv(run.folder / METRICS)
    return table.reindex(columns=["step", *_CURVES]).apply(pd.to_numeric, errors="coerce")


def _numbers(outcomes: Sequence[Outcome]) -> list[list[object]]:
    rows: list[list[object]] = []
    for outcome in outcomes:
        for run in outcome.runs:
            table = _metrics(run).astype(object)
            values = table.where(table.notna(), None).to_numpy().tolist()
            rows += [[outcome.row.name, run.config.seed, *line] for line in values]
    return rows


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"
