"""The dashboard on W&B: its specification, and what is saved on a server."""

from __future__ import annotations

import json

import pytest
from helpers.tiny_runs import localrules
from helpers.wandb_server import WandbServer

SECTIONS = ["Which rule", "Where in the network", "Cost", "Trust", "Images"]


def test_a_dry_run_prints_sections_and_panels_without_a_server() -> None:
    said = localrules("dashboard", "wandb", "--project", "mine", "--dry-run", "--json")
    assert said.code == 0
    sections = {section["name"]: section["panels"] for section in said.document["sections"]}
    assert list(sections) == SECTIONS
    assert all(panels and all(panel["title"] for panel in panels) for panels in sections.values())
    layers = [panel["regex"] for panel in sections["Where in the network"] if panel["type"] == "line"]
    assert "layer/.*/objective" in layers
    points = [(panel["x"], panel["y"]) for panel in sections["Which rule"] if panel["type"] == "scatter"]
    assert points == [("peak_memory_mib", "valid_accuracy")]


def test_a_tracker_without_a_dashboard_is_an_error_that_names_one_with() -> None:
    said = localrules("dashboard", "tensorboard", "--dry-run", "--json")
    assert said.code == 2
    assert "wandb" in said.error["fix"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of wandb-workspaces and its pydantic models
def test_it_is_saved_once_and_leaves_other_views_alone(server: WandbServer) -> None:
    pytest.importorskip("wandb_workspaces")
    theirs = {"id": "VmlldzoxMDA5", "name": "nw-abcdefghijk-v", "displayName": "localrules", "type": "project-view"}
    theirs |= {"description": "", "spec": "{}"}
    server.views[theirs["id"]] = dict(theirs)
    for _ in range(2):
        said = localrules("dashboard", "wandb", "--report", "--json")
        assert said.code == 0, said.out
    assert server.unknown == []
    assert server.views[theirs["id"]] == theirs
    saved = {view["type"]: view for view in server.views.values() if view["id"] != theirs["id"]}
    assert len(server.views) == 3  # theirs, the workspace, the report
    workspace = json.loads(saved["project-view"]["spec"])["section"]["panelBankConfig"]["sections"]
    assert [section["name"] for section in workspace] == SECTIONS
    kinds = {panel["viewType"] for section in workspace for panel in section["panels"]}
    assert kinds >= {"Run History Line Plot", "Bar Chart", "Scatter Plot", "Vega2", "Media Browser", "Weave"}
    assert list(server.charts) == ["somebody/localrules-heatmap"]
    assert said.document["url"].endswith("/somebody/localrules?nw=localrules")
    assert "Rules-in-localrules" in said.document["report_url"]
