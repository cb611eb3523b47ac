"""``localrules plugins``: who supplies what, and what is wrong with a plugin that cannot be used."""

from __future__ import annotations

import typer

from localrules.cli import plugins_check, plugins_new
from localrules.cli.listing import ListCommand, print_list
from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry

app = typer.Typer(cls=ListCommand)
app.command("check")(plugins_check.check)
app.command("new")(plugins_new.new)


@app.callback(invoke_without_command=True)
def plugins(
    ctx: typer.Context,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """List the plugins that are installed, what each supplies, and why one cannot be used.

    A plugin is a package with an entry point in the group [bold]localrules[/bold]; installing it is all it needs.

    [bold]LOCALRULES_PLUGINS=a,b[/bold] loads only these besides our own; empty, it loads only our own.

    [bold]LOCALRULES_TRACE_PLUGINS=1[/bold] shows every hook that is called, on standard error.
    """
    if ctx.invoked_subcommand is None:
        print_list(load_registry(plugin, no_plugin).plugins(), title="Plugins", as_json=as_json)
