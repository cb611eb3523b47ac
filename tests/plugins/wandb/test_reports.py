"""Results of commands on W&B: runs of their own, beside the runs that they compare."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.comparisons import compare
from helpers.tiny_runs import localrules
from helpers.wandb_server import WandbServer

pytestmark = pytest.mark.slow


def table(server: WandbServer, run: str, name: str) -> list[dict[str, object]]:
    """A table that a run logged."""
    (path,) = [row[name]["path"] for row in server.runs[run].history if name in row]
    found = json.loads(server.storage[f"{run}/{path}"])
    return [dict(zip(found["columns"], row, strict=True)) for row in found["data"]]


def test_a_comparison_has_its_runs_in_a_group_and_a_run_with_the_table(tmp_path: Path, server: WandbServer) -> None:
    said = compare(tmp_path / "beside", "--wandb", "online", "--steps", "2", seeds=1)
    assert said.code == 0, said.err
    jobs = [(run.fields["jobType"], run.fields["groupName"]) for run in server.runs.values()]
    assert jobs == [("train", "beside"), ("train", "beside"), ("compare", "beside")]
    name = list(server.runs)[-1]
    rows = table(server, name, "charts/results")
    printed = {row["rule"]: row["valid_accuracy_mean"] for row in said.document}
    assert {row["rule"]: row["valid_accuracy_mean"] for row in rows} == pytest.approx(printed)
    assert server.runs[name].summary["valid_accuracy_mean/backprop"] == printed["backprop"]
    assert server.unknown == []


@pytest.mark.exhaustive
def test_an_audit_has_its_matrix(tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = localrules("audit", "--rule", "local-ce", "--json", "--wandb", "online")
    assert said.code == 0, said.err
    run = server.run
    assert (run.fields["jobType"], run.summary["class"]) == ("audit", "local-labels")
    rows = table(server, run.name, "charts/locality")
    layers = said.document["layers"]
    found = [[bool(row["depends"]) for row in rows if row["update of"] == layer] for layer in layers]
    assert found == said.document["depends"]


@pytest.mark.exhaustive
def test_a_result_that_cannot_be_sent_is_a_warning(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server.status = 401
    said = localrules("audit", "--rule", "local-ce", "--json", "--wandb", "online")
    assert said.code == 0
    assert "the result was not sent to wandb" in said.err
    assert said.document["rule"] == "local-ce"
