"""The page of a study: history, importance, parallel coordinates; and the best settings as a file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w
from matplotlib.figure import Figure

from localrules.config.overrides import Tree, merge, nest
from localrules.core.search_space import SearchChoice, SearchRange
from localrules.reports.html import Page, code
from localrules.sweep.optimizer import import_optuna
from localrules.sweep.run import PRUNED, Sweep, SweepTrial
from localrules.sweep.space import Space, encode
from localrules.utils.atomic_io import write_atomic
from localrules.utils.plotting import INK, MUTED, TRAIN, VALID, new_figure, plain_axes
from localrules.utils.serialization import without_none

PAGE, BEST = "index.html", "best.toml"
IMPORTANCE = "The weight of each setting among the trials that are better than most; PED-ANOVA (Watanabe et al. 2023)."


def best_settings(sweep: Sweep, best: SweepTrial) -> Tree:
    """The settings with which a run repeats the best trial on the whole training split."""
    whole = merge(sweep.settings.tree, nest(best.settings))
    return {key: value for key, value in whole.items() if key != "holdout_fraction"}


def write_report(sweep: Sweep, trials: Sequence[SweepTrial], command: str) -> Path:
    """Write ``index.html``, and ``best.toml`` for ``run --config``. Returns the page's path."""
    best = sweep.best()
    page = Page("Sweep", f"{len(trials)} trials, {sweep.objective}, to {sweep.direction}")
    if best is not None:
        text = tomli_w.dumps(without_none(best_settings(sweep, best)))
        write_atomic(sweep.folder / BEST, text)
        head = f"Best of {len(trials)} trials: {best.value:.4f}, trial {best.number}. Settings for "
        page.paragraph(head, code(f"--config {BEST}"), ":")
        page.code(text.strip())
    done = [trial for trial in trials if trial.value is not None]
    if done:
        page.heading("History")
        page.figure(plot_history(done, sweep), "The objective of each trial, and the best so far")
    if len(done) > 1:
        page.heading("Parallel coordinates")
        page.figure(plot_parallel(done, sweep), "A line for each trial through its settings")
        if weights := importances(sweep):
            page.heading("Importance")
            weighed = [(name, f"{value:.2f}") for name, value in weights.items()]
            page.table(("setting", "importance"), weighed, align="lr", caption=IMPORTANCE)
    page.heading("Trials")
    names = list(sweep.space)
    page.table(
        ("trial", *names, sweep.objective, "", "run"),
        [
            (
                str(trial.number),
                *(_shown(trial.settings.get(name)) for name in names),
                "" if trial.value is None else f"{trial.value:.4f}",
                trial.state,
                trial.folder.name if trial.folder else "",
            )
            for trial in trials
        ],
        align="r" + "r" * len(names) + "rll",
    )
    page.heading("Repeat this study")
    page.code(command)
    page.paragraph("Finished trials are not repeated, and an interrupted one resumes where it stopped.")
    return page.write(sweep.folder / PAGE)


def importances(sweep: Sweep) -> dict[str, float]:
    """The importance of each setting, largest first; empty where that cannot be computed."""
    optuna = import_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is called experimental
        try:
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            found = optuna.importance.get_param_importances(sweep.study, evaluator=evaluator)
        except (ValueError, RuntimeError):  # too few trials, or all alike
            return {}
    return {str(name): float(value) for name, value in found.items()}


def plot_history(trials: Sequence[SweepTrial], sweep: Sweep) -> Figure:
    """The objective against the trial's number, and the best so far."""
    figure = new_figure(8.6, 3.6)
    axes = figure.subplots()
    plain_axes(axes, "", x="trial", y=sweep.objective)
    pick = max if sweep.direction == "maximize" else min
    values = [trial.value or 0.0 for trial in trials]
    best = [pick(values[: place + 1]) for place in range(len(values))]
    axes.step([trial.number for trial in trials], best, where="post", color=VALID, linewidth=1.8, label="best so far")
    for state, marker in (("done", "o"), (PRUNED, "x")):
        own = [(trial.number, trial.value or 0.0) for trial in trials if trial.state == state]
        if own:
            numbers, scores = zip(*own, strict=True)
            axes.scatter(numbers, scores, s=24, color=TRAIN, marker=marker, label=state, zorder=3)
    axes.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    return figure


def plot_parallel(trials: Sequence[SweepTrial], sweep: Sweep) -> Figure:
    """A line for each trial: a vertical axis for each setting, the objective last, the better the darker."""
    names = [*sweep.space, sweep.objective]
    figure = new_figure(max(6.0, 1.9 * len(names)), 4.0)
    axes = figure.subplots()
    plain_axes(axes, "")
    values = [trial.value or 0.0 for trial in trials]
    low, high = min(values), max(values)
    sign = 1 if sweep.direction == "maximize" else -1
    for trial, value in sorted(zip(trials, values, strict=True), key=lambda pair: sign * pair[1]):
        height = (value - low) / (high - low) if high > low else 1.0
        good = height if sign > 0 else 1 - height
        places = [*(_place(sweep.space, name, trial.settings[name]) for name in sweep.space), height]
        axes.plot(range(len(names)), places, color=TRAIN, alpha=0.15 + 0.85 * good**2, linewidth=1 + good)
    for place, name in enumerate(names):
        axes.axvline(place, color=MUTED, linewidth=0.8)
        ends = _ends(sweep.space, name, low, high)
        axes.annotate(ends[0], (place, 0), xytext=(3, -11), textcoords="offset points", fontsize=7.5, color=INK)
        axes.annotate(ends[1], (place, 1), xytext=(3, 4), textcoords="offset points", fontsize=7.5, color=INK)
    axes.set_xticks(range(len(names)), names, fontsize=8.5)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.grid(False)
    axes.set_ylim(-0.1, 1.12)
    return figure


def _place(space: Space, name: str, value: Any) -> float:
    values = space[name]
    if isinstance(values, SearchChoice):
        kinds = [encode(one) for one in values.values]
        return kinds.index(encode(value)) / (len(kinds) - 1)
    assert isinstance(values, SearchRange)
    if values.log:
        return (math.log(value) - math.log(values.low)) / (math.log(values.high) - math.log(values.low))
    return (float(value) - values.low) / (values.high - values.low)


def _ends(space: Space, name: str, low: float, high: float) -> tuple[str, str]:
    if name not in space:
        return f"{low:.3g}", f"{high:.3g}"
    ends = space[name].ends
    return _shown(ends[0]), _shown(ends[-1])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
