"""``localrules reproduce``: figures of the literature, run again."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localrules.cli.asked import usual_data
from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, RunsAsGroupOption, load_registry, setting
from localrules.cli.output import print_json, screen
from localrules.cli.scores import print_doubts
from localrules.errors import UsageError

if TYPE_CHECKING:
    from localrules.plugins import Registry
    from localrules.reproduce.experiment import Experiment
    from localrules.reproduce.outcome import Outcome

app = typer.Typer()


@app.command()
def reproduce(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="An experiment; a suite of them, such as published; or all: the paper's."),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the experiments and run none.")] = False,
    scale: Annotated[
        float, typer.Option("--scale", metavar="FRACTION", help="The fraction of each row's published budget to train.")
    ] = 1.0,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Runs of each row, with seeds from 0. \\[default: the row's]")
    ] = None,
    rows: Annotated[
        str, typer.Option("--rows", metavar="PATTERN", help="Only these rows, e.g. 'mnist*'; any case will do.")
    ] = "*",
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="The data set, where an experiment leaves it open. \\[default: fer2013 if found, else faces]",
        ),
    ] = None,
    data_path: Annotated[
        Path | None,
        typer.Option(
            "--data-path",
            metavar="PATH",
            help="The data set's file, or a folder with all of them: mnist.npz, fashion_mnist/, fer2013.csv.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="The network, where an experiment leaves it open. \\[default: dense_fpn; on a CPU dense_fpn_small]",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=C",
            help="Another setting for all rows: device=cuda, batch_size=64; or an option of what --model and --data "
            "name: model.growth=8. May be repeated.",
        ),
    ] = None,
    ferplus: Annotated[
        Path | None,
        typer.Option("--ferplus", metavar="FILE", help="FER+'s votes: also say how far people agree with each row."),
    ] = None,
    wandb: RunsAsGroupOption = None,
    threads: Annotated[int | None, setting("--threads")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where page, tables and run folders go.")] = Path(
        "reproduced"
    ),
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Run experiments of the literature again, and set our figures beside the published ones.

    [bold]reproduce --list[/bold] names them.

    Leaves tables and pictures of each, their runs, and [bold]index.html[/bold], which needs no network.

    Repeat the command to go on after an interruption, or to add rows, seeds or a larger scale: what is done is kept.
    """
    registry = load_registry(plugin, no_plugin)
    if list_:
        _list(registry, as_json)
        return
    if name is None:
        raise UsageError(
            "it is not said what to reproduce",
            where="localrules reproduce",
            why="there is no default",
            fix="localrules reproduce --list names the experiments",
        )
    if scale <= 0:
        raise UsageError("there is nothing to train", where=f"--scale {scale:g}", fix="choose a fraction above 0")
    outcomes, documents = _reproduce(
        name,
        registry,
        out,
        {
            "scale": scale,
            "seeds": seeds,
            "rows": rows,
            "data_path": data_path,
            "ferplus": ferplus,
            "typed": tuple(set_ or []),
        },
        {kind: {"name": value} for kind, value in (("data", data), ("model", model)) if value is not None},
        {"threads": threads, "trackers": {"wandb": {"mode": wandb, "group": out.resolve().name}} if wandb else None},
    )
    if as_json:
        print_json(documents)
    else:
        _print(outcomes, out)


def _reproduce(
    name: str,
    registry: Registry,
    out: Path,
    asked: dict[str, Any],
    named: dict[str, dict[str, Any]],
    incidental: dict[str, Any],
) -> tuple[list[Outcome], list[dict[str, Any]]]:
    """What the rows came to; and what ``--json`` prints, which has a line for an experiment without rows, too."""
    from localrules.engine.reproducible import available_threads
    from localrules.reproduce import planning, report, results, suite
    from localrules.reproduce.outcome import document
    from localrules.tracking.console import ConsoleProgress

    experiments = suite.chosen(name, registry)
    below, over = _settings(asked["typed"], named)
    for kind in sorted(planning.left_open(experiments)):
        options = below.get(kind, {})
        if "name" not in options:
            usual, line = usual_data(asked["data_path"], registry) if kind == "data" else usual_model(over)
            _say(line)
            below[kind] = {**usual, **options}
    given = {key: value for key, value in incidental.items() if value is not None}
    wanted = planning.Asked(below=below, over=over, incidental={"threads": available_threads()} | given, **asked)
    tasks = planning.plan(experiments, wanted, registry)
    command = shlex.join(["localrules", *sys.argv[1:]])
    outcomes: list[Outcome] = []
    documents: list[dict[str, Any]] = []
    for one, experiment in experiments.items():
        own: list[Outcome] = []
        mine = [task for task in tasks if task.experiment == one]
        for outcome in suite.carried_out(mine, out, registry, lambda: [ConsoleProgress()], _say):
            own.append(outcome)
            for run, found in zip(outcome.runs, outcome.scores, strict=True):
                print_doubts(found, f"{one}, {outcome.row.name}, seed {run.config.seed}")
            results.keep(outcome, out)
            report.write_page(out, _known(out, registry), command)
        data = next((task.data for task in mine if task.data is not None), None)
        if not experiment.rows and wanted.rows == "*":
            data = planning.data_asked_for(wanted, registry)
            documents.append(document(one, experiment.claim))
        if data is not None:
            # What an earlier command made of the other rows stays beside these.
            aside = suite.done_before(planning.left_aside(one, experiment, wanted, registry), out, registry)
            place = {row.name: number for number, row in enumerate(experiment.rows)}
            shown = sorted([*own, *aside], key=lambda outcome: place[outcome.row.name])
            suite.exhibit(one, experiment, shown, data, out, registry)
            report.write_page(out, _known(out, registry), command)
        outcomes += own
        documents += [line for outcome in own for line in outcome.documents()]
    return outcomes, documents


def _settings(words: tuple[str, ...], named: dict[str, dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What was typed: of the data set and the model, for rows that leave them open; and for all rows."""
    from localrules.engine.settings import assigned, merge, with_names

    tree = with_names(assigned(words))
    for key, why in (
        ("rule", "each row has its own; that is what is compared"),
        ("steps", "--scale says how long"),
        ("epochs", "--scale says how long"),
        ("seed", "--seeds says how many; they count from 0"),
    ):
        if key in tree:
            raise UsageError(
                f"{key!r} is not set for a reproduction", where=f"--set {key}", why=why, fix="leave it out"
            )
    below = {kind: tree.pop(kind, {}) for kind in ("data", "model")}
    below = {kind: merge(options, named.get(kind, {})) for kind, options in below.items()}
    return {kind: options for kind, options in below.items() if options}, tree


def usual_model(settings: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The network where none is named: the paper's needs days on a CPU. And a line that says so."""
    import torch

    device = settings.get("device", "auto")
    if device not in ("auto", "cpu") or (device == "auto" and torch.cuda.is_available()):
        return {"name": "dense_fpn"}, "Network: dense_fpn"
    return {"name": "dense_fpn_small"}, "Network: dense_fpn_small, for a CPU; the paper's size is --model dense_fpn"


def _known(out: Path, registry: Registry) -> dict[str, tuple[str, Experiment]]:
    """Summary and content of the experiments that have a folder."""
    from localrules.reproduce.suite import chosen

    entries = [item.entry for item in registry.entries("experiment") if item.status == "ok"]
    return {
        entry.name: (entry.summary, chosen(entry.name, registry)[entry.name])
        for entry in entries
        if (out / entry.name).is_dir()
    }


def _list(registry: Registry, as_json: bool) -> None:
    from localrules.reproduce.experiment import ALL, REBUILT

    items = registry.entries("experiment")
    lines = [{**item.as_dict(), "suite": getattr(item.entry, "suite", "")} for item in items]
    for line, item in list(zip(lines, items, strict=True)):
        words = [(word, f"Another word for {item.entry.name}.") for word in getattr(item.entry, "also", ())]
        lines += [{**line, "name": word, "summary": summary, "suite": ""} for word, summary in words]
    paper = ", ".join(line["name"] or "" for line in lines if line["suite"] == REBUILT)
    every = dict.fromkeys(lines[0] if lines else (), "") | {
        "name": ALL,
        "summary": f"All of the suite {REBUILT}: {paper}.",
    }
    lines.append(every | {"status": "ok", "cause": None})
    if as_json:
        print_json(lines)
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("experiment", style="bold cyan", no_wrap=True)
    table.add_column("suite", no_wrap=True)
    table.add_column("what it is", ratio=1)
    for line in lines:
        table.add_row(*(escape(line[key] or "") for key in ("name", "suite", "summary")))
    console = screen()
    console.print(table)
    console.print("\nA suite runs all of its experiments: [bold]localrules reproduce published[/bold].")


def _print(outcomes: list[Outcome], out: Path) -> None:
    from rich.table import Table

    from localrules.reproduce.report import PAGE

    console = screen()
    for name in dict.fromkeys(outcome.experiment for outcome in outcomes):
        table = Table(title=name, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("row", style="bold cyan", overflow="fold")
        for heading in ("ours", "range", "seeds", "published", "difference"):
            table.add_column(heading, justify="right")
        table.add_column("budget")
        table.add_column("verdict", overflow="fold")
        for outcome in outcomes:
            if outcome.experiment == name:
                line = outcome.line()
                apart = f"{line['low']} to {line['high']}" if len(outcome.values) > 1 else "-"
                published = (line["published"] or "-", line["difference"] or "-")
                figures = (line["ours"] or "-", apart, line["seeds"], *published)
                table.add_row(line["row"], *figures, line["budget"], line["verdict"])
        console.print(table)
    for wants in dict.fromkeys(outcome.wants for outcome in outcomes if outcome.wants):
        names = dict.fromkeys(outcome.row.name for outcome in outcomes if outcome.wants == wants)
        console.print(f"Left out: {'; '.join(names)}, since {wants}", markup=False, soft_wrap=True)
    for machine in dict.fromkeys(outcome.line()["machine"] for outcome in outcomes if outcome.runs):
        console.print(f"On {machine}", markup=False)
    console.print(f"\nThe page: {out / PAGE}", markup=False, soft_wrap=True)


def _say(line: str) -> None:
    from rich.console import Console

    Console(stderr=True, highlight=False).print(line, markup=False, soft_wrap=True)
