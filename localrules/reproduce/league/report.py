"""The league's table and plot: a CSV file and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.core.locality import LOCALITY_LEVELS
from localrules.core.search_space import LR_FACTOR
from localrules.reports.charts import Interval, IntervalChart, Series, XYChart
from localrules.reports.html import Cell, Keyed, Page, badge, code, muted, strong
from localrules.reports.scales import Axis
from localrules.reproduce.league.row import Row, as_csv
from localrules.reproduce.league.spec import League
from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from localrules.config.overrides import Tree

PAGE, TABLE = "index.html", "league.csv"
RANKED = 16  # best rules of a ground in the plot of the ranking, beside the controls
_HEAD = ("", "rule", "class", "accuracy", "std", "seeds", "steps", "step time", "memory", "parameters", "settings")


def write_report(folder: Path, league: League, rows: Sequence[Row], budgets: Mapping[str, Tree], command: str) -> Path:
    """Write ``league.csv`` and ``index.html``.

    Args:
        folder: Where they go.
        league: Its specification.
        rows: By ground, best first.
        budgets: Of each ground: the length of runs and trials.
        command: The command that makes the page again.

    Returns:
        The page's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE, as_csv(rows))
    page = Page("League", "Every rule on the same grounds, with the same search and the same time")
    for text in protocol(league, budgets):
        page.paragraph(text)
    for ground in league.grounds:
        own = [row for row in rows if row.ground == ground.name]
        if own:
            _ground(page, league, ground.name, own)
    page.heading("Repeat a row")
    with page.details("The command of each row"):
        for row in rows:
            if row.command:
                page.paragraph(muted(f"{row.ground}, {row.rule}: "), code(row.command))
    page.heading("Repeat the league")
    page.code(command)
    page.paragraph("Finished runs are not repeated, and an interrupted one resumes where it stopped.")
    return page.write(folder / PAGE)


def _ground(page: Page, league: League, name: str, rows: Sequence[Row]) -> None:
    page.heading(name)
    done = [row for row in rows if row.accuracies]
    if done:
        first = done[0]
        page.paragraph(f"Network {first.model}, data {first.data}, accuracy on {first.split}, on {first.machine}.")
        page.charts(
            [ranking_chart(done, league.controls), cost_chart(done)],
            caption="Colours and markers are those of classes of locality. Lines span the range over seeds, ticks are "
            "single seeds; rules without have one seed.",
            of=f"{first.model} on {first.data}, seeds from 0",
        )
        best = next((place for place, row in enumerate(done) if row.rule not in league.controls), None)
        table = [_cells(place, row, league.controls) for place, row in enumerate(done, 1)]
        page.table(_HEAD, table, align="rlnrrrrrrrl", best=[] if best is None else [best])
    for row in rows:
        if row.reason:
            page.paragraph(strong(row.rule), ": ", row.reason)


def protocol(league: League, budgets: Mapping[str, Tree]) -> list[str]:
    """The rules of the league, in sentences."""
    control = league.controls[0]
    lengths = ", ".join(
        f"{budget['steps']:,} steps on {name} (trials: {budget['trial_steps']:,})" for name, budget in budgets.items()
    )
    changed = next((budget["settings"] for budget in budgets.values()), "")
    return [
        f"Each rule has {league.trials} trials on "
        f"{100 - 100 * league.holdout_fraction:g} % of the training split, and is scored on the rest. The first trial "
        "has the rule's own settings; the others draw the learning rate within a factor of "
        f"{LR_FACTOR:g} of the rule's own, and one option that the rule declares. The best settings are then run on "
        "the whole training split.",
        f"All runs have the time that {control} needs for {lengths}: the step of each rule is timed beside the step of "
        f"{control}, and a rule whose step takes twice as long takes half as many. Step time and memory are ratios to "
        "it. Evaluation is not counted.",
        f"The controls and the {league.best} best rules of each ground have {league.seeds} seeds, the others one. "
        "The class of locality is measured in the run with seed 0. Parameters include those of auxiliary networks.",
        *([f"Settings of all runs were changed: {changed}."] if changed else []),
        *league.notes,
    ]


def ranking_chart(rows: Sequence[Row], controls: Sequence[str]) -> IntervalChart:
    """Accuracy of the controls and the best rules, with the range over seeds.

    Args:
        rows: Rows of one ground with accuracies, best first.
        controls: Names of the controls.
    """
    others = [row.rule for row in rows if row.rule not in controls][:RANKED]
    shown = [row for row in rows if row.rule in (*controls, *others)]
    intervals = []
    for row in shown:
        several = len(row.accuracies) > 1
        spread = "" if row.accuracy_std is None else f" ± {100 * row.accuracy_std:.1f}"
        intervals.append(
            Interval(
                f"{row.rule} (control)" if row.rule in controls else row.rule,
                row.accuracy_mean,
                min(row.accuracies) if several else None,
                max(row.accuracies) if several else None,
                f"{100 * (row.accuracy_mean or 0.0):.1f} %{spread}",
                row.accuracies if several else (),
                style=_level(row),
                strong=row.rule == next(iter(others), None),
            )
        )
    left_out = len(rows) - len(shown)
    title = f"Accuracy of the controls and the best {len(others)}" if left_out else "Accuracy"
    return IntervalChart(title, Axis("accuracy", percent=True), intervals)


def cost_chart(rows: Sequence[Row]) -> XYChart:
    """Accuracy against memory, a point a rule, a series a class of locality."""
    series = []
    for name in LOCALITY_LEVELS:
        own = [row for row in rows if row.level == name]
        if own:
            series.append(
                Series(
                    name,
                    [row.memory_ratio or 0.0 for row in own],
                    [row.accuracy_mean or 0.0 for row in own],
                    LOCALITY_LEVELS.index(name),
                    line=False,
                    names=[row.rule for row in own],
                )
            )
    x = Axis("peak memory of a step, as a ratio to the control")
    return XYChart("Accuracy against memory", x, Axis("accuracy", percent=True), series)


def _level(row: Row) -> int:
    return LOCALITY_LEVELS.index(row.level) if row.level in LOCALITY_LEVELS else 0


def _cells(place: int, row: Row, controls: Sequence[str]) -> list[Cell]:
    assert row.accuracy_mean is not None
    chosen = " ".join([f"lr={row.lr:g}", *(f"{key}={value}" for key, value in row.options.items())])
    return [
        str(place),
        [strong(row.rule), *([badge("control")] if row.rule in controls else [])],
        row.class_text,
        f"{100 * row.accuracy_mean:.2f}",
        "" if row.accuracy_std is None else f"{100 * row.accuracy_std:.2f}",
        str(len(row.accuracies)),
        Keyed(f"{row.steps:,}", row.steps),
        f"{row.step_ratio:.2f}",
        f"{row.memory_ratio:.2f}",
        Keyed(f"{row.parameters:,}", row.parameters),
        muted(chosen),
    ]
