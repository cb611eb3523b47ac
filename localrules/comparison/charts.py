"""Charts of a comparison: ranking, differences, learning curves and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from localrules.comparison.results import RuleResult, SeedStats
from localrules.comparison.scorer import SPLIT
from localrules.errors import UsageError, error_text, shorten
from localrules.reports.charts import Interval, IntervalChart, Level, Series, XYChart
from localrules.reports.scales import Axis
from localrules.tracking.run_folder import METRICS
from localrules.utils.bootstrap import Difference
from localrules.utils.formatting import percent

_ACCURACY = Axis(f"accuracy on the {SPLIT} split", percent=True)


@dataclass(frozen=True)
class _Curve:
    """Accuracy on the valid split at each evaluation: mean, least and most over seeds."""

    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def ranking_chart(ranked: Sequence[RuleResult], styles: Mapping[str, int], best: str | None) -> IntervalChart:
    """Accuracy of each rule, with its range and its seeds."""
    rows = []
    for one in ranked:
        stats = one.stats("valid_accuracy")
        if stats is None:
            continue
        several = stats.std is not None
        rows.append(
            Interval(
                one.label,
                stats.mean,
                stats.low if several else None,
                stats.high if several else None,
                accuracy_text(stats),
                tuple(run.summary["valid_accuracy"] for run in one.runs) if several else (),
                style=styles[one.label],
                strong=one.label == best,
            )
        )
    return IntervalChart(f"Accuracy on the {SPLIT} split", _ACCURACY, tuple(rows))


def accuracy_text(stats: SeedStats) -> str:
    """``81.3 % ± 0.4``; of one seed, the accuracy alone."""
    return percent(stats.mean) + ("" if stats.std is None else f" ± {100 * stats.std:.1f}")


def difference_chart(
    ranked: Sequence[RuleResult], differences: Mapping[str, Difference], control: str, styles: Mapping[str, int]
) -> IntervalChart:
    """Difference in accuracy between each rule and the control, with its interval."""
    rows = [
        Interval(
            one.label,
            100 * found.mean,
            100 * found.low,
            100 * found.high,
            f"{100 * found.mean:+.1f} [{100 * found.low:+.1f}, {100 * found.high:+.1f}]",
            style=styles[one.label],
        )
        for one in ranked
        if (found := differences.get(one.label)) is not None
    ]
    return IntervalChart(f"Difference to {control}", Axis(f"points of accuracy, 0 is {control}"), tuple(rows), zero=0.0)


def learning_curves(results: Sequence[RuleResult], styles: Mapping[str, int]) -> list[XYChart]:
    """Accuracy on the valid split against steps, and against seconds of training; the band is the range of seeds."""
    curves = [(one, curve) for one in results if (curve := _curve(one)) is not None]
    steps = [_series(one, curve, 1.0, styles) for one, curve in curves]
    seconds = [_series(one, curve, one.step_seconds, styles) for one, curve in curves if one.step_seconds is not None]
    levels = _chance(results)
    charts = [XYChart("Against steps", Axis("step", integer=True), _ACCURACY, tuple(steps), levels)]
    if seconds:
        charts.append(XYChart("Against time", Axis("seconds of training steps"), _ACCURACY, tuple(seconds), levels))
    return charts


def cost_charts(results: Sequence[RuleResult], styles: Mapping[str, int]) -> list[XYChart]:
    """Accuracy against the time of a step, and against memory, a point a rule."""
    charts = []
    for title, label, cost in (
        ("Against the time of a step", "milliseconds a step", lambda one: _scaled(one.step_seconds, 1000)),
        ("Against memory", "MiB in a training step", lambda one: one.peak_memory_mib),
    ):
        series = []
        for one in results:
            spent, stats = cost(one), one.stats("valid_accuracy")
            if spent is not None and stats is not None:
                name = f"{one.label}: {percent(stats.mean)}"
                series.append(Series(one.label, [spent], [stats.mean], styles[one.label], line=False, names=[name]))
        if series:
            charts.append(XYChart(title, Axis(label), _ACCURACY, tuple(series)))
    return charts


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else factor * value


def _series(one: RuleResult, curve: _Curve, pace: float, styles: Mapping[str, int]) -> Series:
    band = len(one.runs) > 1
    return Series(
        one.label,
        (curve.steps * pace).tolist(),
        curve.mean.tolist(),
        styles[one.label],
        low=curve.low.tolist() if band else (),
        high=curve.high.tolist() if band else (),
    )


def _curve(one: RuleResult) -> _Curve | None:
    tables = [_read_metrics(run.folder / METRICS) for run in one.runs]
    if not tables:
        return None
    # What is not a number is what a kill left of a line.
    tables = [table.apply(pd.to_numeric, errors="coerce").dropna() for table in tables]
    # A run may have stopped early: what follows would be the mean over other runs.
    points = pd.concat(tables)
    points = points[points["step"] <= min(table["step"].max() for table in tables)]
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


def _chance(results: Sequence[RuleResult]) -> tuple[Level, ...]:
    """The height that always answering the majority class reaches."""
    fractions = {run.summary["majority_share"] for one in results for run in one.runs}
    return tuple(Level(fraction, "always the majority class") for fraction in fractions) if len(fractions) == 1 else ()
