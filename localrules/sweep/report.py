"""The page of a study: history, importance, parallel coordinates; and the best settings as a file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tomli_w

from localrules.config.overrides import Tree, merge, nest
from localrules.core.search_space import SearchChoice, SearchRange
from localrules.reports.charts import Coordinate, Interval, IntervalChart, ParallelChart, Series, XYChart
from localrules.reports.html import Cell, Keyed, Page, badge, code, link
from localrules.reports.scales import Axis
from localrules.sweep.optimizer import import_optuna
from localrules.sweep.pruning import PRUNED
from localrules.sweep.run import RUNS, Sweep, SweepTrial
from localrules.sweep.space import Space, encode
from localrules.utils.atomic_io import write_atomic
from localrules.utils.serialization import without_none
from localrules.utils.text import command_line

PAGE, BEST = "index.html", "best.toml"
IMPORTANCE = "The weight of each setting among the trials that are better than most; PED-ANOVA (Watanabe et al. 2023)."


def best_settings(sweep: Sweep, best: SweepTrial) -> Tree:
    """The settings with which a run repeats the best trial on the whole training split."""
    whole = merge(sweep.settings.tree, nest(best.settings))
    return {key: value for key, value in whole.items() if key not in ("holdout_fraction", "holdout_seed")}


def write_report(sweep: Sweep, trials: Sequence[SweepTrial], command: str) -> Path:
    """Write ``index.html``, and ``best.toml`` for ``run --config``. Returns the page's path."""
    best = sweep.best()
    given = {kind: sweep.settings.get(kind, "name") for kind in ("rule", "model", "data")}
    seed = sweep.settings.get("seed") or 0
    page = Page(
        f"Sweep of {given['rule']}",
        f"{given['model']} on {given['data']}: {len(trials)} trials to {sweep.direction} {sweep.objective}",
        of=f"{given['rule']} trains {given['model']} on {given['data']}, seed {seed}",
    )
    if best is not None:
        _best(page, sweep, best, trials)
    done = [trial for trial in trials if trial.value is not None]
    if done:
        page.heading("History")
        page.charts([history_chart(done, sweep)])
    if len(done) > 1:
        page.heading("Settings")
        page.charts(
            [setting_chart(done, name, sweep) for name in sweep.space if _is_range(sweep.space, name)], legend=False
        )
        page.heading("Parallel coordinates")
        caption = "A line for each trial through its settings; the better it is, the stronger its line."
        page.charts([parallel_chart(done, sweep)], caption=caption)
        if weights := importances(sweep):
            page.heading("Importance")
            page.charts([importance_chart(weights)], caption=IMPORTANCE)
    page.heading("Trials")
    _trials(page, sweep, trials, best)
    page.heading("Repeat this study")
    page.code(command)
    page.paragraph("Finished trials are not repeated, and an interrupted one resumes where it stopped.")
    return page.write(sweep.folder / PAGE)


def _best(page: Page, sweep: Sweep, best: SweepTrial, trials: Sequence[SweepTrial]) -> None:
    counts = {state: sum(trial.state == state for trial in trials) for state in ("done", PRUNED, "diverged", "refused")}
    page.facts(
        [
            (f"Best {sweep.objective}", f"{best.value:.4f}", f"trial {best.number}"),
            *((name, _shown(value), "in the best trial") for name, value in best.settings.items()),
            ("Trials", str(len(trials)), ", ".join(f"{count} {state}" for state, count in counts.items() if count)),
        ]
    )
    text = tomli_w.dumps(without_none(best_settings(sweep, best)))
    write_atomic(sweep.folder / BEST, text)
    page.heading("Best settings")
    words = ["run", "--config", (sweep.folder / BEST).resolve()]
    command = command_line(words, sweep.registry.files, absolute=True)
    page.paragraph("For ", code(command), ", which trains on the whole training split:")
    page.code(text.strip())


def _trials(page: Page, sweep: Sweep, trials: Sequence[SweepTrial], best: SweepTrial | None) -> None:
    """All trials, best first."""
    names = list(sweep.space)
    sign = -1 if sweep.direction == "maximize" else 1
    ranked = sorted(trials, key=lambda trial: math.inf if trial.value is None else sign * trial.value)
    rows: list[list[Cell]] = []
    for trial in ranked:
        is_best = best is not None and trial.number == best.number
        rows.append(
            [
                str(trial.number),
                *(_cell(trial.settings.get(name)) for name in names),
                Keyed("" if trial.value is None else f"{trial.value:.4f}", trial.value),
                [
                    f"refused: {trial.reason}" if trial.reason else trial.state,
                    *([badge("best", strong=True)] if is_best else []),
                ],
                link(trial.folder.name, f"{RUNS}/{trial.folder.name}") if trial.folder else "",
            ]
        )
    page.table(
        ("trial", *names, sweep.objective, "state", "run"),
        rows,
        align="r" + "r" * len(names) + "rll",
        best=[place for place, trial in enumerate(ranked) if best is not None and trial.number == best.number],
    )


def _cell(value: Any) -> Cell:
    return Keyed(_shown(value), value) if isinstance(value, int | float) else _shown(value)


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


def history_chart(trials: Sequence[SweepTrial], sweep: Sweep) -> XYChart:
    """The objective against the trial's number, and the best so far of those that were run to their end."""
    pick = max if sweep.direction == "maximize" else min
    done = [trial for trial in trials if trial.state == "done"]
    values = [trial.value or 0.0 for trial in done]
    best = [pick(values[: place + 1]) for place in range(len(values))]
    places = [trial.number for trial in done]
    if done and trials[-1].number > places[-1]:  # pruned ones follow
        places, best = [*places, trials[-1].number], [*best, best[-1]]
    series = [Series("best so far", places, best, 1, steps=True, marks=False)] if done else []
    for style, state in ((0, "done"), (7, PRUNED)):
        own = [trial for trial in trials if trial.state == state]
        if own:
            numbers, scores = [trial.number for trial in own], [trial.value or 0.0 for trial in own]
            names = [f"trial {trial.number}: {trial.value:.4f}" for trial in own]
            series.append(Series(state, numbers, scores, style, line=False, names=names))
    title = f"The {sweep.objective} of each trial"
    return XYChart(title, Axis("trial", integer=True), Axis(sweep.objective), series)


def setting_chart(trials: Sequence[SweepTrial], name: str, sweep: Sweep) -> XYChart:
    """The objective against one setting."""
    values = sweep.space[name]
    own = [trial for trial in trials if trial.settings.get(name) is not None]
    points = Series(
        name,
        [float(trial.settings[name]) for trial in own],
        [trial.value or 0.0 for trial in own],
        line=False,
        names=[f"trial {trial.number}: {_shown(trial.settings[name])}" for trial in own],
    )
    log = isinstance(values, SearchRange) and values.log
    return XYChart(f"{sweep.objective} against {name}", Axis(name, log=log), Axis(sweep.objective), [points])


def _is_range(space: Space, name: str) -> bool:
    return isinstance(space[name], SearchRange)


def parallel_chart(trials: Sequence[SweepTrial], sweep: Sweep) -> ParallelChart:
    """A line for each trial: an axis for each setting, the objective last."""
    values = [trial.value or 0.0 for trial in trials]
    low, high = min(values), max(values)
    heights = [(value - low) / (high - low) if high > low else 1.0 for value in values]
    coordinates = []
    for name in sweep.space:
        places = [_place(sweep.space, name, trial.settings[name]) for trial in trials]
        coordinates.append(Coordinate(name, _ends(sweep.space, name), places))
    coordinates.append(Coordinate(sweep.objective, (f"{low:.3g}", f"{high:.3g}"), heights))
    quality = heights if sweep.direction == "maximize" else [1 - height for height in heights]
    names = [f"trial {trial.number}: {trial.value:.4f}" for trial in trials]
    return ParallelChart("All trials", coordinates, quality, names)


def importance_chart(weights: dict[str, float]) -> IntervalChart:
    """The importance of each setting, largest first."""
    rows = [Interval(name, value, 0.0, value, f"{value:.2f}") for name, value in weights.items()]
    return IntervalChart("Importance of each setting", Axis("importance", low=0.0, high=1.0), rows)


def _place(space: Space, name: str, value: Any) -> float:
    values = space[name]
    if isinstance(values, SearchChoice):
        kinds = [encode(one) for one in values.values]
        return kinds.index(encode(value)) / (len(kinds) - 1)
    assert isinstance(values, SearchRange)
    if values.log:
        return (math.log(value) - math.log(values.low)) / (math.log(values.high) - math.log(values.low))
    return (float(value) - values.low) / (values.high - values.low)


def _ends(space: Space, name: str) -> tuple[str, str]:
    ends = space[name].ends
    return _shown(ends[0]), _shown(ends[-1])


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
