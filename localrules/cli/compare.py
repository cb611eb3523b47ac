"""``localrules compare``: several rules on one network, or finished runs, in one table and one page."""

from __future__ import annotations

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
from localrules.cli.run_options import collect_settings, fill_defaults
from localrules.cli.scores import has_leak_warning, print_leak_warnings
from localrules.errors import UsageError
from localrules.utils.precision import Precision
from localrules.utils.text import command_line

if TYPE_CHECKING:
    from rich.console import Console

    from localrules.comparison.comparison import Comparison
    from localrules.comparison.results import SeedStats
    from localrules.config.settings import Settings
    from localrules.registry.registry import Registry
    from localrules.utils.bootstrap import Difference

app = typer.Typer()


@app.command(cls=MetricCommand)
def compare(
    ctx: typer.Context,
    runs: Annotated[
        list[Path] | None, typer.Argument(metavar="RUN", help="Finished run folders, instead of --rules.")
    ] = None,
    rules: Annotated[
        str | None,
        typer.Option(
            "--rules",
            metavar="A,B",
            help="Rules to run; semicolons between them where one is a mixture.",
            autocompletion=names_of("rule", separator=","),
        ),
    ] = None,
    model: Annotated[str | None, setting("--model")] = None,
    data: Annotated[str | None, setting("--data")] = None,
    data_path: Annotated[Path | None, setting("--data-path")] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Runs of each rule, with seeds from 0. \\[default: 3]")
    ] = None,
    epochs: Annotated[
        float | None, typer.Option("--epochs", help="Passes over the training split. \\[default: 3]")
    ] = None,
    steps: Annotated[int | None, setting("--steps")] = None,
    batch_size: Annotated[int | None, setting("--batch-size")] = None,
    granularity: Annotated[
        str | None,
        typer.Option(
            "--granularity", metavar="WHAT", help="layer, block, a number of parts, or window:K. \\[default: layer]"
        ),
    ] = None,
    preset: Annotated[str | None, typer.Option("--preset", metavar="NAME", help="Named settings.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=C",
            help="Any other setting, for all rules: optimizer.lr=0.01, model.blocks=2; or an option of one rule: "
            "hsic.beta=100. May be repeated.",
        ),
    ] = None,
    device: Annotated[str | None, setting("--device")] = None,
    precision: Annotated[Precision | None, setting("--precision")] = None,
    threads: Annotated[int | None, setting("--threads")] = None,
    metric: MetricOption = None,
    leak_check: Annotated[
        bool,
        typer.Option("--leak-check", help="Also compare without the valid images that are known from training."),
    ] = False,
    wandb: RunsAsGroupOption = None,
    track: Annotated[list[str] | None, setting("--track")] = None,
    executor: ExecutorOption = None,
    workers: WorkersOption = 1,
    executor_option: ExecutorSettingOption = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Where the page and the run folders go.")] = Path(
        "comparison"
    ),
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Compare rules on the same network, data and seeds, or compare finished runs.

    Leaves [bold]index.html[/bold] in the folder: a table, learning curves, settings; it needs no network.

    Repeat the command to continue after an interruption, or to add rules and seeds: finished runs are kept.
    """
    flags = {
        "--model": model,
        "--data": data,
        "--data-path": data_path,
        "--seeds": seeds,
        "--epochs": epochs,
        "--steps": steps,
        "--batch-size": batch_size,
        "--granularity": granularity,
        "--preset": preset,
        "--device": device,
        "--precision": precision,
        "--threads": threads,
        "--wandb": wandb,
    }
    given = {flag: value for flag, value in flags.items() if value is not None}
    registry = load_registry(plugin, no_plugin)
    metrics = metric_files(ctx, metric, registry)

    def repeated(seeds: int | None = seeds) -> str:
        """This command, over so many seeds."""
        words = [*map(str, runs or []), *(["--rules", rules] if rules is not None else [])]
        shown = {**given, "--seeds": seeds} if seeds else given
        words += [word for flag, value in shown.items() for word in (flag, str(value))]
        words += [word for tracker in track or [] for word in ("--track", tracker)]
        words += [word for setting in set_ or [] for word in ("--set", setting)]
        words += [word for name, file in metrics.items() for word in ("--metric", f"{name}={file}")]
        words += ["--leak-check"] if leak_check else []
        words += ["--workers", str(workers)] if workers > 1 else []
        words += ["--executor", executor] if executor else []
        words += [word for option in executor_option or [] for word in ("--executor-option", option)]
        words += [word for name in no_plugin or [] for word in ("--no-plugin", name)]
        return command_line(["compare", *words, "--out", out], plugin or ())

    command = repeated()
    if (rules is None) == (not runs):
        raise UsageError(
            "no argument says what to compare" if not runs else "rules and runs are both given",
            where="localrules compare",
            why="either rules are run (--rules A,B), or finished run folders are read (RUN RUN)",
            fix="e.g. localrules compare --rules hsic,backprop --model mlp --data faces",
        )
    others = {"--track": track, "--set": set_, "--executor": executor or workers > 1}
    making = [*given, *(flag for flag, value in others.items() if value)]
    if runs and making:
        raise UsageError(
            f"{making[0]} is for runs that are yet to be made",
            where="localrules compare RUN...",
            why="finished runs are compared as they are",
            fix="leave it out, or name rules instead of run folders",
        )
    from localrules import compare as compare_
    from localrules.comparison.plan import SEEDS, parse_rules

    names = parse_rules(rules) if rules is not None else []
    found = compare_(
        runs or (),
        rules=names,
        seeds=seeds,
        settings=_settings(given, set_ or [], track or [], out, registry, workers) if names else None,
        out=out,
        callbacks=_callbacks,
        log=status,
        metrics=metrics,
        leak_check=leak_check,
        command=command,
        executor=executor_settings(executor, executor_option),
        workers=None if runs else workers,
        plugins=registry,
    )
    if wandb is not None:
        from localrules.cli.reporting import report_rows

        rows = found.details()
        report_rows(
            wandb, "compare", out, rows, registry, metric="valid_accuracy_mean", cost="peak_memory_mib",
            config={"command": command},
        )  # fmt: skip
    if as_json:
        print_json(found.rows())
    else:
        _print(found, out)
        if names and (seeds or SEEDS) < SEEDS:
            from localrules.utils.console import print_command

            why = f"compare over {SEEDS} seeds; finished runs are kept"
            print_command(get_console(), why, repeated(SEEDS))
    for one in found.results:  # one that could not be scored has no scores
        for run, scores in zip(one.runs, found.scores.get(one.label, ()), strict=False):
            if leak_check and not has_leak_warning(scores):
                continue  # the table has it
            print_leak_warnings(scores, f"{one.label}, seed {run.config.seed}")


def _settings(
    given: dict[str, Any], words: list[str], track: list[str], out: Path, registry: Registry, workers: int
) -> Settings:
    """The settings of the command line, as a tree; a rule's own under its name."""
    settings = collect_settings(
        {
            "model.name": given.get("--model"),
            "data.name": given.get("--data"),
            "data.path": given.get("--data-path"),
            "epochs": given.get("--epochs"),
            "steps": given.get("--steps"),
            "batch_size": given.get("--batch-size"),
            "granularity": given.get("--granularity"),
            "preset": given.get("--preset"),
            "device": given.get("--device"),
            "precision": given.get("--precision"),
            "threads": given.get("--threads"),
            "trackers.wandb.mode": given.get("--wandb"),
            "trackers.wandb.group": out.resolve().name if "--wandb" in given else None,
        },
        words,
        None,
        track,
        registry,
    )
    settings, lines = fill_defaults(settings, registry, workers)
    for line in lines:
        status(line)
    return settings


def _callbacks() -> list[Any]:
    from localrules.tracking.console import SeriesProgress

    return [SeriesProgress()]


def _print(found: Comparison, out: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    from localrules.utils.formatting import memory, percent, step_time

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("rule", style="bold cyan", overflow="fold")
    for heading in ("valid", f"to {escape(found.control.label)}", "train", "step", "memory"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("locality", no_wrap=True)
    for one in found.results:
        valid, train = one.stats("valid_accuracy"), one.stats("train_accuracy")
        table.add_row(
            " ".join([escape(one.label), *(f"(other {what})" for what in found.mismatches.get(one.label, []))]),
            _format_accuracy(valid) if valid else "-",
            _format_difference(found.differences.get(one.label)),
            percent(train.mean) if train else "-",
            step_time(one.step_seconds) if one.step_seconds is not None else "-",
            memory(one.peak_memory_mib) if one.peak_memory_mib is not None else "-",
            f"{one.locality}\n[dim]{one.proof}[/]" if one.locality else "-",
        )
    console = get_console()
    console.print(table)
    _print_clean(found, console)
    for note in found.notes:
        console.print(f"Note: {note}", markup=False)
    console.print(f"\nThe page: {out / 'index.html'}", markup=False, soft_wrap=True)


def _print_clean(found: Comparison, console: Console) -> None:
    if not found.clean:
        return
    from rich.markup import escape
    from rich.table import Table

    from localrules.utils.formatting import percent

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("without what is known from training", style="bold cyan", overflow="fold")
    for heading in ("images", "valid", f"to {escape(found.control.label)}"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, left in found.clean.items():
        table.add_row(escape(label), f"{left.images:,}", percent(left.accuracy), _format_difference(left.difference))
    console.print()
    console.print(table)


def _format_accuracy(found: SeedStats) -> str:
    from localrules.utils.formatting import percent

    return percent(found.mean) + ("" if found.std is None else f"\n[dim]± {100 * found.std:.1f}[/]")


def _format_difference(found: Difference | None) -> str:
    if found is None:
        return "-"
    return f"{100 * found.mean:+.1f}\n[dim]{100 * found.low:+.1f} to {100 * found.high:+.1f}[/]"
