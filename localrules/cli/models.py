"""``localrules models``: which networks there are."""

from __future__ import annotations

from typing import Annotated

import typer

from localrules.cli.completion import names_of
from localrules.cli.listing import ListCommand, print_entry, print_list
from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry

app = typer.Typer(cls=ListCommand)


@app.callback(invoke_without_command=True)
def models(
    ctx: typer.Context,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """List the networks that are installed, or show one with its options.

    Use one with [bold]localrules run --model NAME[/bold]; set its options with [bold]--set model.OPTION=VALUE[/bold].
    """
    if ctx.invoked_subcommand is None:
        print_list(load_registry(plugin, no_plugin).entries("model"), title="Networks", as_json=as_json)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="The network, as NAME or DISTRIBUTION/NAME.", autocompletion=names_of("model")
        ),
    ],
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Show one network: what it is, where it was published, and its options with their defaults."""
    print_entry(load_registry(plugin, no_plugin), "model", name, as_json=as_json)
