"""``localrules sweep``: search for the settings of a rule."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from localrules.cli.completion import names_of
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
from localrules.cli.run_options import collect_settings, fill_defaults
from localrules.errors import UsageError
from localrules.utils.precision import Precision
from localrules.utils.text import command_line, shell_join

if TYPE_CHECKING:
    from localrules.config.settings import Settings
    from localrules.registry.registry import Registry
    from localrules.sweep.run import SweepTrial
    from localrules.sweep.space import Space

app = typer.Typer()

_RUNS, _SEARCH = "Runs", "Search"
_NAME: dict[str, Any] = {"metavar": "NAME", "autocompletion": names_of("rule")}


def _option(*names: str, help: str, panel: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, **more)


@app.command()
def sweep(
    rule: Annotated[
        str | None,
        _option("--rule", panel=_RUNS, help="The learning rule.", **_NAME),
    ] = None,
    model: Annotated[str | None, setting("--model", _RUNS)] = None,
    data: Annotated[str | None, setting("--data", _RUNS)] = None,
    data_path: Annotated[Path | None, setting("--data-path", _RUNS)] = None,
    epochs: Annotated[
        float | None, _option("--epochs", panel=_RUNS, help="Passes over the training split. \\[default: 3]")
    ] = None,
    steps: Annotated[int | None, setting("--steps", _RUNS)] = None,
    batch_size: Annotated[int | None, setting("--batch-size", _RUNS)] = None,
    granularity: Annotated[
        str | None, _option("--granularity", metavar="WHAT", panel=_RUNS, help="layer, block, or a number of parts.")
    ] = None,
    preset: Annotated[str | None, _option("--preset", metavar="NAME", panel=_RUNS, help="Named settings.")] = None,
    config: Annotated[
        Path | None, _option("--config", metavar="FILE", panel=_RUNS, help="Settings from a TOML file.")
    ] = None,
    set_: Annotated[
        list[str] | None, _option("--set", metavar="A.B=C", panel=_RUNS, help="Any other setting. May be repeated.")
    ] = None,
    device: Annotated[str | None, setting("--device", _RUNS)] = None,
    precision: Annotated[Precision | None, setting("--precision", _RUNS)] = None,
    threads: Annotated[int | None, setting("--threads", _RUNS)] = None,
    wandb: RunsAsGroupOption = None,
    track: Annotated[list[str] | None, setting("--track", _RUNS)] = None,
    trials: Annotated[
        int, _option("--trials", panel=_SEARCH, help="How many, those of earlier commands among them.", min=1)
    ] = 20,
    param: Annotated[
        list[str] | None,
        _option(
            "--param",
            metavar="A.B=VALUES",
            panel=_SEARCH,
            help="A setting and what to try: rule.beta=1..1000:log, model.blocks=1..4:int, optimizer.name=adam,muon. "
            "May be repeated. \\[default: what the rule declares, and the learning rate]",
        ),
    ] = None,
    space: Annotated[
        Path | None,
        _option(
            "--space",
            metavar="FILE",
            panel=_SEARCH,
            help="The same from a TOML file: rule.beta = {low = 1, high = 1000, log = true}.",
        ),
    ] = None,
    sampler: Annotated[
        Literal["tpe", "random", "grid", "cmaes"], _option("--sampler", panel=_SEARCH, help="How values are chosen.")
    ] = "tpe",
    pruner: Annotated[
        Literal["none", "median", "hyperband"],
        _option("--pruner", panel=_SEARCH, help="Stop runs early that fall behind, after an epoch."),
    ] = "none",
    objective: Annotated[
        str, _option("--objective", metavar="NAME", panel=_SEARCH, help="A number of the runs' summary.json.")
    ] = "valid_accuracy",
    direction: Annotated[
        Literal["maximize", "minimize"] | None,
        _option(
            "--direction", panel=_SEARCH, help="\\[default: maximize what ends in accuracy, minimize anything else]"
        ),
    ] = None,
    seed: Annotated[int, _option("--seed", panel=_SEARCH, help="Of the sampler; the runs' own is set by --set.")] = 0,
    out: Annotated[
        Path, _option("--out", metavar="FOLDER", panel=_SEARCH, help="The study: its file, runs and page.")
    ] = Path("sweep"),
    executor: ExecutorOption = None,
    workers: WorkersOption = 1,
    executor_option: ExecutorSettingOption = None,
    wandb_yaml: Annotated[
        bool, _option("--wandb-yaml", panel=_SEARCH, help="Print the same search as a W&B sweep, and run nothing.")
    ] = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Search for the settings of a rule by Optuna; every trial is a run folder.

    A tenth of the training split is held out and scored, so that the valid split stays unread; to score on the valid
    split, add [bold]--set holdout_fraction=0[/bold].

    Leaves [bold]index.html[/bold] and [bold]best.toml[/bold], which [bold]run --config[/bold] takes, in the folder.

    Repeat the command after an interruption, or with more trials: finished ones are kept. Two processes, also on two
    machines that share the folder, may work on one study.
    """
    registry = load_registry(plugin, no_plugin)
    settings = collect_settings(
        {
            "rule.name": rule,
            "model.name": model,
            "data.name": data,
            "data.path": data_path,
            "epochs": epochs,
            "steps": steps,
            "batch_size": batch_size,
            "granularity": granularity,
            "preset": preset,
            "device": device,
            "precision": precision,
            "threads": threads,
            "trackers.wandb.mode": wandb,
            "trackers.wandb.group": out.resolve().name if wandb else None,
        },
        set_ or [],
        config,
        track or [],
        registry,
    )
    settings, lines = fill_defaults(settings, registry, workers)
    for line in lines:
        status(line)
    searched = _space(settings, param or [], space, registry)
    goal = direction or ("maximize" if objective.endswith("accuracy") else "minimize")
    from localrules.sweep.run import Sweep

    if wandb_yaml:
        from localrules.sweep.wandb_yaml import as_wandb_sweep

        if pruner != "none":
            raise UsageError(
                "a pruner is of no use to W&B's agents",
                where=f"--pruner {pruner} --wandb-yaml",
                why="a run that W&B starts knows nothing of the others",
                fix="leave --pruner out, and add early_terminate to the file as W&B documents it",
            )
        Sweep(settings, searched, out, registry, objective, goal, sampler).check()
        options = [word for file in plugin or () for word in ("--plugin", str(file.expanduser().resolve()))]
        options += [word for name in no_plugin or () for word in ("--no-plugin", name)]
        text = as_wandb_sweep(settings, searched, objective, goal, sampler, trials, options)
        if as_json:
            print_json({"yaml": text})
        else:
            print(text, end="")
        return
    from localrules.runs.executor import EXECUTOR, make_executor
    from localrules.sweep.report import BEST, best_settings, write_report
    from localrules.tracking.console import SeriesProgress

    runner = make_executor(executor_settings(executor, executor_option), workers, out / EXECUTOR, registry)
    shown = (lambda: [SeriesProgress()], status, runner)
    study = Sweep(settings, searched, out, registry, objective, goal, sampler, pruner, seed, *shown)
    found = study.run(trials)
    page = write_report(study, found, shell_join(["localrules", *sys.argv[1:]]))
    best = study.best()
    if wandb is not None:
        from localrules.cli.reporting import report_rows

        rows = [
            {"trial": trial.number, **trial.settings, objective: trial.value, "state": trial.state} for trial in found
        ]
        report_rows(wandb, "sweep", out, rows, registry, label="trial", metric=objective)
    if as_json:
        print_json(
            {
                "trials": len(found),
                "best_value": None if best is None else best.value,
                "best_settings": None if best is None else best_settings(study, best),
                "study": str(out),
            }
        )
    else:
        _print(found, best, objective, page, command_line(["run", "--config", out / BEST], registry.files))


def _space(settings: Settings, words: list[str], file: Path | None, registry: Registry) -> Space:
    from localrules.engine.resolve import resolve_run
    from localrules.sweep.space import default_space, parse_params, read_space

    typed = parse_params(words)
    read = read_space(file) if file is not None else {}
    if twice := sorted({*typed} & {*read}):
        raise UsageError(
            f"{twice[0]} is in the file and on the command line", where="--param", fix="leave out one of them"
        )
    if typed or read:
        return {**read, **typed}
    run = resolve_run(settings, registry)
    found = default_space(run.rule_parts[-1].cls.info.search_space, run.config.optimizer.lr)
    return {name: values for name, values in found.items() if settings.get(*name.split(".")) is None}


def _print(trials: list[SweepTrial], best: SweepTrial | None, objective: str, page: Path, command: str) -> None:
    from rich.markup import escape
    from rich.table import Table

    from localrules.utils.console import print_command

    console = get_console()
    names = list(trials[0].settings) if trials else []
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("trial", *names, objective):
        table.add_column(escape(heading), justify="right", overflow="fold")
    table.add_column("")
    for trial in trials:
        shown = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in trial.settings.values())
        values = [escape(text) for text in shown]
        score = "-" if trial.value is None else f"{trial.value:.4f}"
        mark = "best" if trial is best or (best and trial.number == best.number) else ""
        table.add_row(str(trial.number), *values, score, mark or trial.state.replace("done", ""))
    console.print(table)
    console.print(f"\nThe page: {page}", markup=False, soft_wrap=True)
    if best is not None:
        print_command(console, "train with the best settings, on the whole training split", command)
