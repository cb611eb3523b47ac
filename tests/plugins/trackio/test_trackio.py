"""trackio as it is: a run, read back from its database."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.tiny_runs import STEPS, TINY

from localrules.errors import UsageError
from localrules_trackio.tracker import TrackioTracker

pytestmark = pytest.mark.slow

# In a process of its own: trackio reads the place of its database when it is imported.
RUN = """
import json, sys
from localrules.cli import main
code = main(sys.argv[1:])
import trackio
(run,) = trackio.Api().runs("mine")
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps({"code": code, "rows": SQLiteStorage.get_logs("mine", run.name)}, default=str))
"""


def test_a_run_has_its_metrics_charts_and_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    words = ["run", "--rule", "local-ce", *TINY, "--out", str(tmp_path / "runs"), "--track", "trackio"]
    words += ["--set", "trackio.project=mine", "--diagnose", "probe,histograms"]
    done = subprocess.run([sys.executable, "-c", RUN, *words], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    rows = found["rows"]
    assert [row["step"] for row in rows if "train/lr" in row] == [*range(2, STEPS + 1, 2)]
    assert all("layer/layers.0/objective" in row for row in rows if "train/lr" in row)
    charts = [row for row in rows if "charts/objective" in row]
    assert charts[-1]["step"] == STEPS
    assert charts[-1]["charts/objective"]["_type"] == "trackio.image"
    assert charts[-1]["charts/predictions"]["_type"] == "trackio.table"
    assert {"charts/probe", "charts/confusion", "histograms/layers.0/weights"} <= charts[-1].keys()
    assert "trackio show --project mine" in done.stderr


NAMES = """
import json
from pathlib import Path
from types import SimpleNamespace
import trackio
from localrules_trackio.tracker import TrackioTracker
facts = {name: name for name in ("rule", "model", "data", "locality")}
facts |= {"layers": [], "config": {}, "resumed_from_step": 0}
def start(folder, state):
    Path(folder).mkdir(exist_ok=True)
    tracker = TrackioTracker(TrackioTracker.Config(project="mine", name="same"))
    tracker.on_run_start(SimpleNamespace(directory=Path(folder), state=state, **facts))
    tracker.on_log({"step": len(state) + 1, "loss": 1.0})
    tracker.close()
    return state
first = start("a", {})
start("b", {})
start("a", first)
print(json.dumps([run.name for run in trackio.Api().runs("mine")]))
"""


def test_two_runs_of_one_name_stay_apart_when_one_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    done = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, timeout=200, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout.splitlines()[-1])) == ["same", "same-b"]


def test_without_trackio_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        TrackioTracker(TrackioTracker.Config())
    assert "localrules[trackio]" in caught.value.fix
