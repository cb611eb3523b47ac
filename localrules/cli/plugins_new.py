"""``localrules plugins new``: a plugin to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from localrules.cli.options import JsonOption, load_registry
from localrules.cli.output import get_console, print_json
from localrules.utils.text import shell_quote

_TRY = {
    "rule": "localrules run --rule {} --model mlp --data faces",
    "model": "localrules run --rule hsic --model {} --data faces",
    "data": "localrules run --rule local-ce --model mlp --data {}",
    "tracker": "localrules run --rule hsic --model mlp --data faces --track {}",
    "executor": "localrules compare --rules local-ce,backprop --model mlp --data faces --steps 20 --executor {}",
    "preset": "localrules run --preset {} --rule local-ce --model mlp --data faces",
    "metric": "localrules eval RUN_FOLDER --metric {}=labels.txt",
    "exporter": "localrules data export faces --format {} --out faces.npz",
    "experiment": "localrules reproduce {} --scale 0.1",
}
_NOUNS = {"rule": "learning rule", "model": "network", "data": "data set", "exporter": "export format"}


def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of what it supplies, e.g. my-rule; _ becomes -.")
    ],
    kind: Annotated[
        Literal["rule", "model", "data", "tracker", "executor", "preset", "metric", "exporter", "experiment"],
        typer.Option("--kind", help="What the plugin supplies."),
    ] = "rule",
    author: Annotated[
        str, typer.Option("--author", metavar="NAME", help="Named in the metadata and the licence.")
    ] = "Your Name",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to write it. \\[default: localrules-NAME]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a plugin with one rule, network, data set or entry of another kind, ready to install, test and publish.

    It has the code, its entry point, tests (for a rule: of its formula, and the conformance kit), a README, a
    changelog, a licence, and workflows for GitHub that test it and release it to PyPI.
    """
    from localrules.registry import scaffold

    entry = scaffold.parse_name(name)
    scaffold.check_name_is_free(entry, kind, load_registry(None, None))
    folder, files = scaffold.write_plugin(entry, out, kind=kind, author=author)
    inside = [str(path.relative_to(folder)) for path in files]
    if as_json:
        print_json({"kind": kind, kind: entry, "folder": str(folder), "files": inside})
        return
    from rich.markup import escape

    console = get_console()
    noun = _NOUNS.get(kind, kind)
    if entry != name:
        console.print(f"The {noun} is called [cyan]{escape(entry)}[/]: names have dashes instead of underscores.")
    console.print(f"[bold]{escape(str(folder))}[/] holds the {noun} [cyan]{escape(entry)}[/]:")
    for path in inside:
        console.print(f"  {escape(path)}")
    console.print("\nInstall it, try it, check it:")
    for command in (
        f"pip install -e {shell_quote(folder)}",
        _TRY[kind].format(entry),
        f"localrules plugins check {entry}",
    ):
        console.print(f"  {escape(command)}", soft_wrap=True)
