"""``localrules eval``: score a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import print_json, screen

if TYPE_CHECKING:
    from localrules.finished import FinishedRun

app = typer.Typer()


@app.command(name="eval")
def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
    split: Annotated[Literal["train", "valid", "test"], typer.Option("--split", help="The split to score.")] = "valid",
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Another data set. \\[default: the run's]")
    ] = None,
    data_path: Annotated[
        Path | None,
        typer.Option("--data-path", metavar="PATH", help="The data set's file or folder. \\[default: the run's]"),
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Score a run's last weights on a split.

    Reports top-1, balanced accuracy, and top-1 without the pictures that also occur in an earlier split.

    The one-against-rest mean stands beside them: it flatters, since a wrong answer is right about most classes.
    """
    registry = load_registry(plugin, no_plugin)
    from localrules.engine.config import Choice
    from localrules.finished import FinishedRun

    finished = FinishedRun.load(run, registry)
    choice = None
    if data is not None or data_path is not None:
        own = finished.config.data
        options = own.options if data in (None, own.name) else {}
        path = {} if data_path is None else {"path": str(data_path)}
        choice = Choice(name=data or own.name, **{**options, **path})
    found = finished.score(finished.data(registry, choice), split)
    if as_json:
        print_json(found)
    else:
        _print(finished, found)


def _print(run: FinishedRun, found: dict[str, Any]) -> None:
    from rich.table import Table

    from localrules.tracking.readable import percent

    console = screen()
    names = f"[bold]{run.config.rule.name}[/] on [bold]{run.config.model.name}[/]"
    console.print(f"\n{names}, {found['n']:,} {found['split']} pictures\n")
    figures = Table.grid(padding=(0, 2))
    fresh = found["top1_without_duplicates"]
    left_out = found["n"] - found["n_without_duplicates"]
    figures.add_row("top-1", f"[bold green]{percent(found['top1'])}[/]", "")
    figures.add_row("balanced", percent(found["balanced_accuracy"]), "[dim]mean of the classes' recalls[/]")
    figures.add_row(
        "without duplicates",
        percent(fresh) if fresh is not None else "-",
        f"[dim]{left_out:,} rows left out that also occur in an earlier split[/]",
    )
    figures.add_row(
        "one against rest", percent(found["one_vs_rest_accuracy"]), "[dim]flatters: not comparable with top-1[/]"
    )
    console.print(figures)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="\nlabel by prediction", title_justify="left")
    table.add_column("", style="cyan")
    for name in run.classes:
        table.add_column(name, justify="right")
    table.add_column("recall", justify="right", style="bold")
    for index, name in enumerate(run.classes):
        row = found["confusion"][index]
        cells = [f"[bold]{count}[/]" if place == index else str(count) for place, count in enumerate(row)]
        recall = found["recalls"][name]
        table.add_row(name, *cells, percent(recall) if recall == recall else "-")
    console.print(table)
