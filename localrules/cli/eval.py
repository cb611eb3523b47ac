"""``localrules eval``: score a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from localrules.cli.metrics import MetricCommand, MetricOption, metric_files
from localrules.cli.options import (
    DeviceOfRunOption,
    JsonOption,
    NoPluginOption,
    PluginOption,
    ReportOption,
    RunArgument,
    load_registry,
)
from localrules.cli.output import print_json
from localrules.cli.scores import print_leak_warnings, print_scores

if TYPE_CHECKING:
    from localrules.registry.registry import Registry
    from localrules.runs.load import TrainedRun

app = typer.Typer()


@app.command(name="eval", cls=MetricCommand)
def eval_(
    ctx: typer.Context,
    run: RunArgument,
    split: Annotated[Literal["train", "valid", "test"], typer.Option("--split", help="The split to score.")] = "valid",
    data: Annotated[
        str | None, typer.Option("--data", metavar="NAME", help="Another data set. \\[default: the run's]")
    ] = None,
    data_path: Annotated[
        Path | None,
        typer.Option("--data-path", metavar="PATH", help="The data set's file or folder. \\[default: the run's]"),
    ] = None,
    device: DeviceOfRunOption = None,
    flip: Annotated[
        bool | None,
        typer.Option(
            "--flip/--no-flip",
            help="Average the probabilities for each image and its flip. \\[default: the run's tta_flip]",
        ),
    ] = None,
    metric: MetricOption = None,
    leak_check: Annotated[
        bool,
        typer.Option(
            "--leak-check",
            help="Look for the scored samples among the training samples. Always done if top-1 is implausibly high.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Where images and metrics go. \\[default: RUN/evaluation/DATA-SPLIT]"
        ),
    ] = None,
    wandb: ReportOption = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Score a run's last weights on a split.

    Reports top-1, balanced accuracy, top-1 without the images that also occur in an earlier split, and calibration.

    Also reports the one-vs-rest accuracy, which overstates performance: a wrong prediction is right about most classes.

    Leaves [bold]confusion.png[/bold], [bold]calibration.png[/bold], [bold]scores.json[/bold] and
    [bold]predictions.csv[/bold], which has a row for each image.
    """
    registry = load_registry(plugin, no_plugin)
    metrics = metric_files(ctx, metric, registry)
    from localrules import evaluate, load_run
    from localrules.tracking.service import fetch_run

    finished = load_run(fetch_run(run, registry), device=device, plugins=registry)
    choice = {} if data is None else {"name": data}
    if data_path is not None:
        choice["path"] = str(data_path)
    found = evaluate(finished, split, data=choice or None, flip=flip, metrics=metrics, leak_check=leak_check, out=out)
    if wandb is not None:
        _report(wandb, run, finished, found, registry)
    if as_json:
        print_json(found)
    else:
        print_scores(finished, found, registry)
    print_leak_warnings(found)


def _report(mode: str, asked: Path, run: TrainedRun, found: dict[str, Any], registry: Registry) -> None:
    from localrules.cli.reporting import send_report
    from localrules.evaluation.charts import charts_of_metrics
    from localrules.tracking.service import CommandReport, weights_reference

    config = run.config
    report = CommandReport(
        job_type="eval",
        name=f"{run.folder.name}-{found['data']}-{found['split']}",
        directory=run.folder,
        config={"run": str(asked), "rule": {"name": config.rule.name}, "model": {"name": config.model.name}}
        | {name: found[name] for name in ("data", "split", "flip")},
        summary={name: value for name, value in found.items() if isinstance(value, int | float | str)},
        charts=charts_of_metrics(found),
        source=weights_reference(asked),
    )
    send_report(mode, report, registry)
