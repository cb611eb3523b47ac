"""``localrules env``: what a bug report needs."""

from __future__ import annotations

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import get_console, print_json

app = typer.Typer()


@app.callback(invoke_without_command=True)
def env(as_json: JsonOption = False, plugin: PluginOption = None, no_plugin: NoPluginOption = None) -> None:
    """Print versions, machine, devices and plugins, for a bug report. It contains no secrets and no user names."""
    registry = load_registry(plugin, no_plugin)
    from localrules.engine.system_info import system_info

    found = system_info(registry)
    if as_json:
        print_json(found)
        return
    console = get_console()
    packages, plugins = found.pop("packages"), found.pop("plugins")
    found["variables"] = ", ".join(f"{name}={value}" for name, value in found["variables"].items()) or "none"
    found["devices"] = "; ".join(found["devices"])
    lines = [f"{name:<16} {value}" for name, value in {**packages, **found}.items()]
    lines += ["", "plugins"]
    lines += [f"  {item['name']}: {item['distribution']} {item['version']}, {item['status']}" for item in plugins]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
