"""``localrules predict``: label images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localrules.cli.options import (
    DeviceOfRunOption,
    JsonOption,
    NoPluginOption,
    PluginOption,
    RunArgument,
    load_registry,
)
from localrules.cli.output import get_console, print_json
from localrules.errors import DataError

if TYPE_CHECKING:
    from localrules.prediction.predict import Prediction

app = typer.Typer()

_OF_MANY = 3  # ranks that are printed of each of several images
_BAR = 24  # characters


@app.command()
def predict(
    run: RunArgument,
    image: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Images, or folders of images.")],
    crop: Annotated[
        bool,
        typer.Option("--crop", help="Cut out the largest face. Needs OpenCV: pip install 'localrules\\[faces]'."),
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, instead of an error.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where annotated images go. \\[default: RUN/predictions]"),
    ] = None,
    device: DeviceOfRunOption = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Label images with a run's last weights.

    Takes any image: grey or colour, of any size, turned as its EXIF data say, on white where it is transparent.

    The middle is cut out in the aspect of the run's images, and resized to their size; --crop takes a face instead.

    Prints the classes, ranked by probability, and leaves an annotated image of each.
    """
    registry = load_registry(plugin, no_plugin)
    from localrules.prediction.face_detection import opencv_detector
    from localrules.prediction.images import list_images, without_unreadable
    from localrules.prediction.plots import FOLDER, plot_predictions
    from localrules.prediction.predict import predict_images
    from localrules.runs.load import TrainedRun
    from localrules.tracking.service import fetch_run

    image_batch, others = list_images(image)
    image_batch, unreadable = without_unreadable(image_batch) if skip_unreadable else (image_batch, [])
    detector = opencv_detector() if crop else None
    finished = TrainedRun.load(fetch_run(run, registry), registry, device=device)
    try:
        found = predict_images(finished, image_batch, detector)
    except DataError as error:
        if len(image_batch) > 1:
            error.fix += "; --skip-unreadable labels the others"
        raise
    folder = finished.folder / FOLDER if out is None else out.expanduser().resolve()
    plot_predictions(found, folder)
    if as_json:
        print_json([item.as_dict() for item in found])
    else:
        _print(found, folder)
    _print_notes(found, others, unreadable)


def _print(found: Sequence[Prediction], folder: Path) -> None:
    from rich.table import Table
    from rich.text import Text

    from localrules.utils.formatting import percent

    console = get_console()
    count = len(found[0].ranked) if len(found) == 1 else _OF_MANY
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("image", style="cyan", overflow="fold")
    table.add_column("class")
    table.add_column("", justify="right")
    table.add_column("")
    for item in found:
        for rank, (name, probability) in enumerate(item.ranked[:count]):
            style = "" if rank else "bold green"
            bar = Text("#" * round(_BAR * probability), style=style or "dim")
            image = Text("" if rank else str(item.image))
            table.add_row(image, Text(name, style=style), Text(percent(probability), style=style), bar)
    console.print(table)
    names = "its annotated image is" if len(found) == 1 else f"{len(found):,} annotated images are"
    console.print(f"\n{names} in {folder}", markup=False, soft_wrap=True)


def _print_notes(found: Sequence[Prediction], others: Sequence[Path], unreadable: Sequence[Path]) -> None:
    """Warnings about what was done differently than a user may expect."""
    console = get_console()
    faceless = [str(item.image) for item in found if item.face is False]
    if faceless:
        console.print(
            f"no face was found, so the middle was taken: {', '.join(faceless)}", markup=False, soft_wrap=True
        )
    for reason, paths in (("no images by their names", others), ("cannot be read", unreadable)):
        if paths:
            names = ", ".join(path.name for path in paths[:5]) + ", ..." * (len(paths) > 5)
            console.print(f"left out, {reason}: {names}", markup=False, soft_wrap=True)
