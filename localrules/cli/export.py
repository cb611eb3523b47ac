"""``localrules export``: write a trained network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, RunArgument, load_registry
from localrules.cli.output import get_console, print_json
from localrules.errors import UsageError

app = typer.Typer()


@app.command()
def export(
    run: RunArgument,
    format: Annotated[Literal["onnx", "torch", "hub"], typer.Option("--format", help="What to write.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder that it goes to.")],
    push: Annotated[
        str | None,
        typer.Option("--push", metavar="REPO", help="Upload a hub folder to the Hugging Face Hub: USER/NAME."),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option("--license", metavar="ID", help="Licence of the weights, for the model card: apache-2.0."),
    ] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store the parameters of a hub folder as float16, in half the space.")
    ] = False,
    notes: Annotated[
        Path | None,
        typer.Option("--notes", metavar="FILE", help="Markdown for the model card, such as the limits of its use."),
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Write a run's network for other programs, read it back, and compare it with the run.

    onnx and torch hold the whole prediction: from images in \\[0, 1] to probabilities, for any number of images.

    hub is a folder with weights, settings and a model card, which eval, predict and load_run read.
    """
    registry = load_registry(plugin, no_plugin)
    from localrules.exporting.export import export as write_export
    from localrules.tracking.service import fetch_run

    source = fetch_run(run, registry)
    found = write_export(
        source,
        format,
        out,
        license=license or "",
        half=half,
        notes="" if notes is None else _read_notes(notes),
        push_to=push,
        plugins=registry,
    )
    if as_json:
        print_json(found.as_dict())
        return
    console = get_console()
    console.print(
        f"{format}: {found.path}\nlargest difference of a probability from the run's: {found.max_abs_difference:.2g}",
        markup=False,
        soft_wrap=True,
    )
    if found.url:
        console.print(f"uploaded to {found.url}", markup=False, soft_wrap=True)


def _read_notes(file: Path) -> str:
    try:
        return file.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            "the notes cannot be read", where=f"--notes {file}", why=str(error), fix="name a text file in UTF-8"
        ) from error
