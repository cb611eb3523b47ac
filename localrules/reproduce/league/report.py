"""The league's table and plot: a CSV file and a page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from localrules.core.locality import LOCALITY_LEVELS
from localrules.core.search_space import LR_FACTOR
from localrules.reports.html import Cell, Page, code, muted, strong
from localrules.reproduce.league.row import Row, as_csv
from localrules.reproduce.league.spec import League
from localrules.utils.atomic_io import write_atomic
from localrules.utils.plotting import COLOURS, INK, MARKERS, new_figure, plain_axes

if TYPE_CHECKING:
    from localrules.config.overrides import Tree

PAGE, TABLE = "index.html", "league.csv"
NAMED = 8  # best rules of a ground whose points are named in the plot, beside the controls
_HEAD = ("", "rule", "class", "accuracy", "std", "seeds", "steps", "step time", "memory", "parameters", "settings")


def write_report(folder: Path, league: League, rows: Sequence[Row], budget: Tree, command: str) -> Path:
    """Write ``league.csv`` and ``index.html``.

    Args:
        folder: Where they go.
        league: Its specification.
        rows: By ground, best first.
        budget: The time of runs and trials.
        command: The command that makes the page again.

    Returns:
        The page's path.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / TABLE, as_csv(rows))
    page = Page("League", "Every rule on the same grounds, with the same search and the same time")
    for text in protocol(league, budget):
        page.paragraph(text)
    for ground in league.grounds:
        own = [row for row in rows if row.ground == ground.name]
        if not own:
            continue
        page.heading(ground.name)
        done = [row for row in own if row.accuracies]
        if done:
            first = done[0]
            page.paragraph(f"Network {first.model}, data {first.data}, accuracy on {first.split}, on {first.machine}.")
            page.figure(plot_ground(done, league.controls), f"Accuracy against memory on {ground.name}")
            page.table(_HEAD, [_cells(place, row) for place, row in enumerate(done, 1)], align="rllrrrrrrrl")
        for row in own:
            if row.reason:
                page.paragraph(strong(row.rule), ": ", row.reason)
    page.heading("Repeat a row")
    for row in rows:
        if row.command:
            page.paragraph(muted(f"{row.ground}, {row.rule}: "), code(row.command))
    page.heading("Repeat the league")
    page.code(command)
    page.paragraph("Finished runs are not repeated, and an interrupted one resumes where it stopped.")
    return page.write(folder / PAGE)


def protocol(league: League, budget: Tree) -> list[str]:
    """The rules of the league, in sentences."""
    control = league.controls[0]
    return [
        f"Each rule has {league.trials} trials of {budget['trial_seconds']:g} seconds of training on "
        f"{100 - 100 * league.holdout_fraction:g} % of the training split, and is scored on the rest. The first trial "
        "has the rule's own settings; the others draw the learning rate within a factor of "
        f"{LR_FACTOR:g} of the rule's own, and one option that the rule declares. The best settings are then run on "
        f"the whole training split for {budget['seconds']:g} seconds.",
        f"Seconds are those of {control}: its step is timed alone, then each rule's step beside it, and a rule whose "
        "step takes twice as long takes half as many steps. Step time and memory are ratios to it. Evaluation is not "
        "counted.",
        f"The controls and the {league.best} best rules of each ground have {league.seeds} seeds, the others one. "
        "The class of locality is measured in the run with seed 0. Parameters include those of auxiliary networks.",
        *([f"Settings of all runs were changed: {budget['settings']}."] if budget["settings"] else []),
        *league.notes,
    ]


def plot_ground(rows: Sequence[Row], controls: Sequence[str]) -> Figure:
    """Accuracy against memory, a point a rule, coloured by class; controls and the best rules are named.

    Args:
        rows: Rows of one ground with accuracies, best first.
        controls: Names of the controls.
    """
    figure = new_figure(8.6, 5.2)
    axes = figure.subplots()
    plain_axes(axes, "", x="peak memory of a step, as a ratio to the control", y="accuracy")
    classes = [name for name in LOCALITY_LEVELS if any(_class(row) == name for row in rows)]
    for name in classes:
        place = LOCALITY_LEVELS.index(name)
        own = [row for row in rows if _class(row) == name]
        axes.scatter(
            [row.memory_ratio or 0.0 for row in own],
            [row.accuracy_mean or 0.0 for row in own],
            s=34,
            color=COLOURS[place % len(COLOURS)],
            marker=MARKERS[place % len(MARKERS)],
            label=name,
            zorder=3,
        )
    named = [row for row in rows if row.rule in controls] + [row for row in rows if row.rule not in controls][:NAMED]
    for row in named:
        axes.annotate(
            row.rule,
            (row.memory_ratio or 0.0, row.accuracy_mean or 0.0),
            xytext=(5, 3),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
        )
    axes.legend(frameon=False, fontsize=8, labelcolor=INK, title="class", title_fontsize=8)
    return figure


def _class(row: Row) -> str:
    return row.locality or row.declared


def _cells(place: int, row: Row) -> list[Cell]:
    assert row.accuracy_mean is not None
    chosen = " ".join([f"lr={row.lr:g}", *(f"{key}={value}" for key, value in row.options.items())])
    return [
        str(place),
        strong(row.rule),
        row.locality or f"{row.declared} (declared)",
        f"{100 * row.accuracy_mean:.2f}",
        "" if row.accuracy_std is None else f"{100 * row.accuracy_std:.2f}",
        str(len(row.accuracies)),
        f"{row.steps:,}",
        f"{row.step_ratio:.2f}",
        f"{row.memory_ratio:.2f}",
        f"{row.parameters:,}",
        muted(chosen),
    ]
