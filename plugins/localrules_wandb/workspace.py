"""A dashboard's specification as objects of the package wandb-workspaces."""

from __future__ import annotations

from typing import Any

import wandb_workspaces.reports.v2 as reports
import wandb_workspaces.workspaces as workspaces
from wandb_workspaces.workspaces import internal

Spec = dict[str, Any]
_WIDTH, _HEIGHT, _COLUMNS = 8, 6, 3  # of a panel in a report, whose grid has 24 columns


def save(spec: Spec, entity: str, project: str, name: str, view: str) -> str:
    """Create the workspace, or update the one that an earlier call created.

    Args:
        spec: ``sections`` with ``panels``.
        entity, project: Its place.
        name: The name that users see.
        view: The internal name, by which it is found again; no other view is read or written.

    Returns:
        Its address.
    """
    made = workspaces.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            workspaces.Section(
                name=section["name"],
                panels=[_panel(panel, entity) for panel in section["panels"]],
                is_open=section is spec["sections"][0],
            )
            for section in spec["sections"]
        ],
    )
    made._internal_name = view
    try:
        made._internal_id = internal.View.from_name(entity, project, view).id
    except ValueError as error:
        if "Workspace" not in str(error):  # the project is not there
            raise
    return str(made.save().url)


def save_report(api: Any, spec: Spec, entity: str, project: str, mark: str) -> str:
    """Create the report, or replace the one that an earlier call created.

    Args:
        api: W&B's public API.
        spec: ``sections`` with ``panels``.
        entity, project: Its place.
        mark: Its description, by which it is found again.

    Returns:
        Its address.
    """
    runs = reports.Runset(entity=entity, project=project, groupby=["config.rule.name"])
    blocks: list[Any] = []
    for section in spec["sections"]:
        panels = [_panel(panel, entity) for panel in section["panels"]]
        for place, panel in enumerate(panels):
            row, column = divmod(place, _COLUMNS)
            panel.layout = reports.Layout(x=column * _WIDTH, y=row * _HEIGHT, w=_WIDTH, h=_HEIGHT)
        blocks += [reports.H1(section["name"]), reports.PanelGrid(runsets=[runs], panels=panels)]
    made = reports.Report(
        entity=entity, project=project, title=f"Rules in {project}", description=mark, blocks=blocks, width="fluid"
    )
    for known in api.reports(f"{entity}/{project}"):
        if known.description == mark:
            made.id = known.id
    return str(made.save().url)


def _panel(panel: Spec, entity: str) -> Any:
    kind, title = panel["type"], panel["title"]
    if kind == "line":
        group = None if panel["group_by"] is None else reports.Config(panel["group_by"])
        regex = panel.get("regex")
        return reports.LinePlot(title=title, x=panel["x"], y=panel["y"], metric_regex=regex, groupby=group)
    if kind == "bar":
        group = reports.Config(panel["group_by"])
        return reports.BarPlot(title=title, metrics=[panel["metric"]], groupby=group, orientation="h")
    if kind == "scatter":
        x, y = (reports.SummaryMetric(panel[axis]) for axis in ("x", "y"))
        return reports.ScatterPlot(title=title, x=x, y=y)
    if kind == "custom":
        preset = panel["preset"]
        return reports.CustomChart(
            query={"summaryTable": {"tableKey": panel["table"]}},
            chart_name=preset if "/" in preset else f"{entity}/{preset}",
            chart_fields=panel["fields"],
            chart_strings={"title": title},
        )
    if kind == "table":
        return reports.WeavePanelSummaryTable(table_name=panel["table"])
    return reports.MediaBrowser(title=title, media_keys=panel["keys"])
