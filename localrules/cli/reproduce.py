"""``localrules reproduce``: results of the literature, run again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localrules.cli.completion import names_of
from localrules.cli.metrics import MetricCommand, MetricOption, metric_files
from localrules.cli.options import (
    ExecutorOption,
    ExecutorSettingOption,
    JsonOption,
    NoPluginOption,
    PluginOption,
    RunsAsGroupOption,
    WorkersOption,
    executor_settings,
    load_registry,
    setting,
)
from localrules.cli.output import get_console, print_json, status
from localrules.cli.run_options import FLAGS, default_dataset, default_model
from localrules.cli.scores import print_leak_warnings
from localrules.errors import UsageError
from localrules.utils.text import shell_join

if TYPE_CHECKING:
    from localrules.config.settings import Settings
    from localrules.registry.registry import Registry
    from localrules.reproduce.league.row import Row
    from localrules.reproduce.league.spec import League
    from localrules.reproduce.request import ReproductionRequest
    from localrules.reproduce.result import CaseResult
    from localrules.reproduce.spec import Experiment
    from localrules.runs.executor import Executor

app = typer.Typer()


@app.command(cls=MetricCommand)
def reproduce(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="An experiment; a suite of them, such as published; or all: the paper's.",
            autocompletion=names_of("experiment"),
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="List the experiments and run none.")] = False,
    scale: Annotated[
        float,
        typer.Option("--scale", metavar="FRACTION", help="The fraction of each case's published budget to train."),
    ] = 1.0,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Runs of each case, with seeds from 0. \\[default: the case's]")
    ] = None,
    cases: Annotated[
        list[str] | None,
        typer.Option(
            "--cases",
            "--rows",
            metavar="PATTERN",
            help="Only these cases, e.g. 'mnist*'; upper or lower case. May be repeated. \\[default: all]",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="The data set, where an experiment leaves it open. \\[default: the first by priority that is found]",
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
            help="The network, where an experiment leaves it open. \\[default: by priority; on a CPU, a small one]",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=C",
            help="Another setting for all cases: device=cuda, batch_size=64; or an option of what --model and --data "
            "name: model.growth=8. May be repeated.",
        ),
    ] = None,
    metric: MetricOption = None,
    wandb: RunsAsGroupOption = None,
    track: Annotated[list[str] | None, setting("--track")] = None,
    threads: Annotated[int | None, setting("--threads")] = None,
    executor: ExecutorOption = None,
    workers: WorkersOption = 1,
    executor_option: ExecutorSettingOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where page, tables and run folders go.")] = Path(
        "reproduced"
    ),
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Repeat experiments from the literature, and compare our metrics with the published ones.

    [bold]reproduce --list[/bold] names them.

    Leaves tables and images of each, their runs, and [bold]index.html[/bold], which needs no network.

    Repeat the command after an interruption, or for more cases, seeds or a larger scale: finished runs are kept.
    """
    registry = load_registry(plugin, no_plugin)
    if list_:
        _list(registry, as_json)
        return
    if name is None:
        raise UsageError(
            "no argument says what to reproduce",
            where="localrules reproduce",
            why="there is no default",
            fix="localrules reproduce --list names the experiments",
        )
    metrics = metric_files(ctx, metric, registry)
    if scale <= 0:
        raise UsageError("there is nothing to train", where=f"--scale {scale:g}", fix="choose a fraction above 0")
    from localrules.cli.run_options import with_trackers
    from localrules.config.settings import Settings
    from localrules.engine.device import default_threads
    from localrules.reproduce.registry import find_league, select_experiments
    from localrules.reproduce.request import ReproductionRequest, parse_settings
    from localrules.reproduce.run import run_experiments
    from localrules.runs.executor import EXECUTOR, make_executor
    from localrules.tracking.console import ConsoleProgress

    league = find_league(name, registry)
    experiments = {} if league else select_experiments(name, registry)
    typed = tuple(set_ or [])
    below, over = parse_settings(typed, Settings.from_flags({"data.name": data, "model.name": model}, FLAGS))
    trackers: dict[str, Any] = {name: {} for name in track or ()}
    if wandb:
        trackers["wandb"] = {"mode": wandb, "group": out.resolve().name}
    over = with_trackers(over, set(trackers), {item.entry.name for item in registry.entries("tracker")})
    below = _fill_defaults(below, over, experiments, data_path, registry)
    if threads is not None or over.get("threads") is None:
        threads = threads or (1 if league else default_threads(workers))
    incidental: dict[str, Any] = {} if threads is None else {"threads": threads}
    if trackers:
        incidental["trackers"] = trackers
    asked = ReproductionRequest(
        scale=scale,
        seeds=seeds,
        cases=tuple(cases or ()),
        defaults=below,
        overrides=over,
        raw_overrides=typed,
        incidental=incidental,
        data_path=data_path,
        metrics=metrics,
    )
    command = shell_join(["localrules", *sys.argv[1:]])
    runner = make_executor(executor_settings(executor, executor_option), workers, out / EXECUTOR, registry)
    if league is not None:
        _run_league(league, name, asked, out, registry, command, as_json, runner, wandb)
        return
    outcomes, documents = run_experiments(
        experiments,
        asked,
        out,
        registry,
        command,
        callbacks=lambda: [ConsoleProgress()],
        say=status,
        done=_leak_warnings,
        executor=runner,
    )
    if as_json:
        print_json(documents)
    else:
        _print(outcomes, out)


def _run_league(
    league: League,
    name: str,
    asked: ReproductionRequest,
    out: Path,
    registry: Registry,
    command: str,
    as_json: bool,
    executor: Executor | None,
    wandb: str | None,
) -> None:
    from localrules.reproduce.league.report import write_report
    from localrules.reproduce.league.run import LeagueRunner
    from localrules.tracking.console import SeriesProgress

    if asked.metrics:
        raise UsageError("a league computes accuracy alone", where="--metric", fix="leave it out")
    runner = LeagueRunner(league, asked, out / name, registry, lambda: [SeriesProgress()], status, executor)
    rows = runner.run()
    budgets = {ground.name: runner.budget(ground) for ground in league.grounds}
    page = write_report(out / name, league, rows, budgets, command)
    if wandb is not None:
        from localrules.cli.reporting import report_rows

        named = [{**row.document(), "case": f"{row.rule}, {row.ground}"} for row in rows]
        report_rows(
            wandb, "league", out, named, registry, label="case", metric="accuracy_mean", cost="memory_ratio",
            config={"command": command},
        )  # fmt: skip
    if as_json:
        print_json([row.document() for row in rows])
    else:
        _print_league(rows, page)


def _fill_defaults(
    below: Settings, over: Settings, experiments: dict[str, Experiment], path: Path | None, registry: Registry
) -> Settings:
    """The same, with the usual data set and network where none is named and one is wanted."""
    from localrules.config.settings import Settings, merge_settings
    from localrules.reproduce.plan import unspecified_components

    filled = below
    for kind in sorted(unspecified_components(experiments)):
        if below.get(kind, "name") is None:
            usual, line = default_dataset(path, registry) if kind == "data" else default_model(over.tree, registry)
            status(line)
            filled = merge_settings(Settings.from_tree({kind: usual}, "default"), filled)
    return filled


def _leak_warnings(outcome: CaseResult) -> None:
    for run, found in zip(outcome.runs, outcome.scores, strict=True):
        print_leak_warnings(found, f"{outcome.experiment}, {outcome.case.name}, seed {run.config.seed}")


def _list(registry: Registry, as_json: bool) -> None:
    from localrules.reproduce.registry import list_experiments

    lines = list_experiments(registry)
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
    console = get_console()
    console.print(table)
    console.print("\nA suite runs all of its experiments: [bold]localrules reproduce published[/bold].")


def _print_league(rows: list[Row], page: Path) -> None:
    from rich.table import Table

    console = get_console()
    for ground in dict.fromkeys(row.ground for row in rows):
        table = Table(title=ground, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("rule", style="bold cyan", overflow="fold")
        table.add_column("class")
        for heading in ("accuracy", "std", "seeds", "steps", "step time", "memory"):
            table.add_column(heading, justify="right")
        for row in rows:
            if row.ground == ground and row.accuracy_mean is not None:
                std = "-" if row.accuracy_std is None else f"{100 * row.accuracy_std:.1f}"
                counts = (
                    f"{len(row.accuracies)}",
                    f"{row.steps:,}",
                    f"{row.step_ratio:.2f}",
                    f"{row.memory_ratio:.2f}",
                )
                accuracy = f"{100 * row.accuracy_mean:.1f} %"
                table.add_row(row.rule, row.locality or f"{row.declared}?", accuracy, std, *counts)
        console.print(table)
        for row in rows:
            if row.ground == ground and row.reason:
                console.print(f"{row.rule}: {row.reason}", markup=False, soft_wrap=True)
    console.print(f"\nThe page: {page}", markup=False, soft_wrap=True)


def _print(outcomes: list[CaseResult], out: Path) -> None:
    from rich.table import Table

    from localrules.reproduce.report import PAGE

    console = get_console()
    for name in dict.fromkeys(outcome.experiment for outcome in outcomes):
        table = Table(title=name, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column("row", style="bold cyan", overflow="fold")
        for heading in ("ours", "range", "seeds", "published", "difference"):
            table.add_column(heading, justify="right")
        table.add_column("budget")
        table.add_column("verdict", overflow="fold")
        for outcome in outcomes:
            if outcome.experiment == name:
                line = outcome.as_csv_row()
                apart = f"{line['low']} to {line['high']}" if len(outcome.values) > 1 else "-"
                published = (line["published"] or "-", line["difference"] or "-")
                metrics = (line["ours"] or "-", apart, line["seed_count"], *published)
                table.add_row(line["row"], *metrics, line["budget"], line["verdict"])
        console.print(table)
    for wants in dict.fromkeys(outcome.install_hint for outcome in outcomes if outcome.install_hint):
        names = dict.fromkeys(outcome.case.name for outcome in outcomes if outcome.install_hint == wants)
        console.print(f"Left out: {'; '.join(names)}, since {wants}", markup=False, soft_wrap=True)
    for machine in dict.fromkeys(outcome.as_csv_row()["machine"] for outcome in outcomes if outcome.runs):
        console.print(f"On {machine}", markup=False)
    console.print(f"\nThe page: {out / PAGE}", markup=False, soft_wrap=True)
