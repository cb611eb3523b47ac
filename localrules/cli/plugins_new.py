"""``localrules plugins new``: a plugin of one's own to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from localrules.cli.options import JsonOption
from localrules.cli.output import get_console, print_json


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The rule's name, e.g. my-rule; _ becomes -.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to write it. \\[default: localrules-NAME]"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a plugin with one learning rule: a distribution that installs, learns and passes its checks as it is.

    It has the rule, its entry point, a test by the conformance kit, a README and a workflow for GitHub.
    """
    from localrules.registry import scaffold

    rule = scaffold.parse_rule_name(name)
    folder, files = scaffold.write_plugin(rule, out)
    inside = [str(path.relative_to(folder)) for path in files]
    if as_json:
        print_json({"rule": rule, "folder": str(folder), "files": inside})
        return
    from rich.markup import escape

    console = get_console()
    if rule != name:
        console.print(f"The rule is called [cyan]{escape(rule)}[/], since names of rules have dashes, and no _.")
    console.print(f"[bold]{escape(str(folder))}[/] holds the learning rule [cyan]{escape(rule)}[/]:")
    for path in inside:
        console.print(f"  {escape(path)}")
    console.print("\nInstall it, see it learn, see that it keeps its promises:")
    for words in (
        f"pip install -e {folder}",
        f"localrules run --rule {rule} --model mlp --data faces",
        f"localrules plugins check {rule}",
    ):
        console.print(f"  {escape(words)}", soft_wrap=True)
