"""``localrules dashboard``: a ready dashboard for the runs of a project."""

from __future__ import annotations

from typing import Annotated

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import get_console, print_json

app = typer.Typer()


@app.command()
def dashboard(
    tracker: Annotated[str, typer.Argument(metavar="TRACKER", help="Where the runs are: wandb.")],
    project: Annotated[
        str, typer.Option("--project", metavar="P", help="The project whose runs it shows.", show_default=True)
    ] = "localrules",
    entity: Annotated[
        str | None, typer.Option("--entity", metavar="E", help="User or team. \\[default: your own]")
    ] = None,
    report: Annotated[bool, typer.Option("--report", help="Also write a report of the comparison.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what it would have; connect to nothing and write nothing.")
    ] = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Create a dashboard for the runs of a project, or update the one that this command created.

    Sections: which rule is ahead, where in the network, cost, trust, images.

    It is a saved view of its own: your other views stay as they are.
    """
    registry = load_registry(plugin, no_plugin)
    from localrules.tracking.service import find_service

    service = find_service(tracker, "dashboard", registry)
    found = service.dashboard(project, entity, report=report, dry_run=dry_run)
    if as_json:
        print_json(found)
        return
    console = get_console()
    for section in found["sections"]:
        console.print(section["name"], style="bold", markup=False)
        for panel in section["panels"]:
            console.print(f"  {panel['title']} ({panel['type']})", markup=False, soft_wrap=True)
    for what, url in (("The dashboard", found["url"]), ("The report", found["report_url"])):
        if url:
            console.print(f"\n{what}: {url}", markup=False, soft_wrap=True)
