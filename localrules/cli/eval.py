"""``localrules eval``: score a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from localrules.cli.options import DeviceOfRunOption, JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import get_console, print_json
from localrules.cli.scores import print_leak_warnings, print_scores

app = typer.Typer()


@app.command(name="eval")
def eval_(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.")],
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
            help="Also ask about each picture's mirror image, and average the probabilities. "
            "\\[default: the run's tta_flip]",
        ),
    ] = None,
    ferplus: Annotated[
        Path | None,
        typer.Option("--ferplus", metavar="FILE", help="FER+'s votes: also say how far people agree with the network."),
    ] = None,
    leak_check: Annotated[
        bool,
        typer.Option(
            "--leak-check",
            help="Look for the scored rows among the training rows. Done anyway where top-1 is too good to be true.",
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FOLDER", help="Where pictures and figures go. \\[default: RUN/evaluation/DATA-SPLIT]"
        ),
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Score a run's last weights on a split.

    Reports top-1, balanced accuracy, top-1 without the pictures that also occur in an earlier split, and calibration.

    The one-against-rest mean stands beside them: it flatters, since a wrong answer is right about most classes.

    Leaves [bold]confusion.png[/bold], [bold]calibration.png[/bold], [bold]scores.json[/bold] and
    [bold]answers.csv[/bold], which has a row for each picture.
    """
    registry = load_registry(plugin, no_plugin)
    from localrules.runs.evaluate import evaluate_run
    from localrules.runs.load import TrainedRun

    finished = TrainedRun.load(run, registry, device=device)
    choice = None
    if data is not None or data_path is not None:
        own = finished.config.data
        options = own.options if data in (None, own.name) else {}
        path = {} if data_path is None else {"path": str(data_path)}
        choice = {**options, **path, "name": data or own.name}
    scored = finished.data(registry, choice, held_out=data is None)
    if (finished.predictor.flip if flip is None else flip) and not scored.flip_preserves_label:
        get_console().print(
            f"[yellow]In {scored.name} a mirror image need not keep its label: asking it may do harm.[/]"
        )
    found = evaluate_run(finished, scored, split, registry, flip=flip, ferplus=ferplus, leak_check=leak_check, out=out)
    if as_json:
        print_json(found)
    else:
        print_scores(finished, found)
    print_leak_warnings(found)
