"""W&B without a login and without a network: what is written, what never is, and that nobody is asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError
from torch import nn

from localrules.callbacks.base import MetricsRow, Plot, RunInfo
from localrules.callbacks.callback_list import CallbackList
from localrules.core.network import Network
from localrules.core.phase import Phase
from localrules.engine.layerwise import LayerwiseRule
from localrules.tracking.kept_state import read_kept
from localrules_wandb.login import decide_mode, logged_in
from localrules_wandb.tracker import WandbTracker

pytestmark = pytest.mark.slow

MODEL = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
NETWORK_AND_RULE = (Network.wrap(MODEL), LayerwiseRule({}))
ALL_IMAGES = {"confusion", "sample_sheet", "feature_maps"}


def run_info(directory: Path, **changes: Any) -> RunInfo:
    directory.mkdir(parents=True, exist_ok=True)
    known: dict[str, Any] = {
        "directory": directory,
        "rule": "hsic",
        "model": "mlp",
        "data": "fer2013",
        "config": {"seed": 7, "rule": {"name": "hsic", "beta": 100.0}},
        "layers": [],
        "classes": ("a", "b"),
        "redistributable": False,
        "total_steps": 4,
        "steps_per_epoch": 2,
        "resumed_from_step": 0,
        "columns": (),
        "phases": (Phase("joint", 0, 4, frozenset(), 3.0),),
    }
    return RunInfo(**known | changes)


def row(step: int) -> MetricsRow:
    evaluated = {"valid_accuracy": 0.5} if step % 2 == 0 else {}
    return {"step": step, "epoch": step / 2, "phase": "joint", "objective/stem": -step / 8, "loss": None, **evaluated}


def images(directory: Path) -> list[Plot]:
    found = []
    for name, shows_data in (("confusion", False), ("sample_sheet", True), ("feature_maps", True)):
        Image.new("L", (8, 8), 90).save(directory / f"{name}.png")
        found.append(Plot(name, directory / f"{name}.png", shows_data))
    return found


def track(info: RunInfo, steps: range, **options: Any) -> None:
    tracker = WandbTracker(WandbTracker.Config(**options))
    (info.directory / "config.toml").write_text("seed = 7\n")
    tracker.on_run_start(info)
    tracker.on_train_start(*NETWORK_AND_RULE)
    for step in steps:
        tracker.on_log(row(step))
    tracker.on_run_end({"status": "done", "steps": 4, "valid_accuracy": 0.5}, images(info.directory))
    tracker.close()


def parts(directory: Path) -> list[Path]:
    return sorted((directory / "wandb").glob("offline-run-*"))


def records(part: Path, kind: str) -> list[Any]:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(part)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL).stdout
    lines = [json.loads(line) for line in text.splitlines()]
    return [line[kind] for line in lines if line.get("type") == kind]


def test_an_offline_run_has_configuration_metrics_axes_and_weights(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    info = run_info(tmp_path / "run")
    track(info, range(1, 5), mode="offline")
    screen = capfd.readouterr()
    (part,) = parts(info.directory)

    (run,) = records(part, "run")
    update = run["config"]["update"]
    assert {key: update[key] for key in info.config} == info.config
    assert (run["run_group"], run["job_type"]) == ("hsic-mlp-fer2013", "train")
    assert run["run_id"] == info.state["wandb_id"]

    history = [item["item"] for item in records(part, "history")]
    assert [item["layer/stem/objective"] for item in history[:4]] == [-0.125, -0.25, -0.375, -0.5]
    assert [item["step"] for item in history[:4]] == [1, 2, 3, 4]
    assert [item.get("valid/accuracy") for item in history[:4]] == [None, 0.5, None, 0.5]
    axes = {metric["glob_name"]: metric["step_metric"] for metric in records(part, "metric") if "glob_name" in metric}
    assert axes["layer/*"] == "step"
    assert axes["valid/*"] == "epoch"

    (artifact,) = records(part, "artifact")
    assert artifact["type"] == "model"
    assert artifact["aliases"] == ["latest"]
    paths = {item["path"] for item in artifact["manifest"]["contents"]}
    assert paths == {"README.md", "config.toml", "model.safetensors"}

    assert screen.out == ""
    assert f"wandb leet {part}" in screen.err
    assert f"wandb sync {part}" in screen.err


def test_the_environment_holds_where_no_option_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"PROJECT": "theirs", "RUN_GROUP": "friday", "NAME": "first", "JOB_TYPE": "search", "NOTES": "a note"}
    for name, value in chosen.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_TAGS", "one, two")
    info = run_info(tmp_path / "run", locality="local-labels", layers=[{"name": n, "parameters": 3, "macs": 5} for n in "ab"])
    track(info, range(1, 2), mode="offline", name="typed", tags=["three"])
    (part,) = parts(info.directory)
    (run,) = records(part, "run")
    assert (run["project"], run["run_group"], run["job_type"], run["notes"]) == ("theirs", "friday", "search", "a note")
    assert run["display_name"] == "typed"
    assert set(run["tags"]) == {"hsic", "mlp", "fer2013", "local-labels", "one", "two", "three"}
    update = run["config"]["update"]
    assert [update[key] for key in ("locality", "parameters", "macs", "layers")] == ["local-labels", 6, 10, 2]


def test_rows_that_code_of_a_plugin_logs_stand_beside_ours(tmp_path: Path) -> None:
    import wandb

    info = run_info(tmp_path / "run")
    tracker = WandbTracker(WandbTracker.Config(mode="offline"))
    tracker.on_run_start(info)
    for step in range(1, 5):
        for _ in range(3):
            wandb.log({"mine": step})
        tracker.on_log(row(step))
    tracker.on_run_end({"status": "done", "steps": 4}, [])
    (part,) = parts(info.directory)
    history = [item["item"] for item in records(part, "history")]
    assert [item["step"] for item in history if "step" in item] == [1, 2, 3, 4]
    assert [item["mine"] for item in history if "mine" in item] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]


def test_a_run_that_code_of_a_plugin_has_started_stays_apart(tmp_path: Path) -> None:
    import wandb

    theirs = wandb.init(project="mine", mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    info = run_info(tmp_path / "run")
    track(info, range(1, 5), mode="offline")
    wandb.log({"mine": 1})
    theirs.finish()
    (ours,), (other,) = parts(info.directory), parts(tmp_path)
    assert [item["item"]["step"] for item in records(ours, "history") if "step" in item["item"]] == [1, 2, 3, 4]
    assert [item["item"]["mine"] for item in records(other, "history")] == [1]


def test_a_run_that_code_of_a_plugin_finishes_goes_on_in_a_second_part(tmp_path: Path) -> None:
    import wandb

    info = run_info(tmp_path / "run")
    tracker = WandbTracker(WandbTracker.Config(mode="offline"))
    tracker.on_run_start(info)
    tracker.on_log(row(1))
    wandb.finish()
    tracker.on_log(row(2))
    tracker.on_run_end({"status": "done", "steps": 2}, [])
    both = parts(info.directory)
    assert [[item["item"]["step"] for item in records(part, "history")] for part in both] == [[1], [2]]
    assert {run["run_id"] for part in both for run in records(part, "run")} == {info.state["wandb_id"]}


def test_nothing_of_the_git_repository_is_sent_but_the_commit_in_the_configuration(tmp_path: Path) -> None:
    info = run_info(tmp_path / "run")
    track(info, range(1, 2), mode="offline")  # this repository is one
    (part,) = parts(info.directory)
    sent = records(part, "environment") + records(part, "run")
    assert any("host" in item for item in sent)
    assert not any("git" in item for item in sent)


@pytest.mark.parametrize(
    ("redistributable", "media", "shown"),
    [(False, False, {"confusion"}), (True, False, ALL_IMAGES), (False, True, ALL_IMAGES)],
    ids=["as FER2013", "free data", "FER2013 and wandb.media=true"],
)
def test_images_of_data_are_logged_only_where_that_is_allowed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], redistributable: bool, media: bool, shown: set[str]
) -> None:
    info = run_info(tmp_path / "run", redistributable=redistributable)
    track(info, range(1, 2), mode="offline", media=media)
    (part,) = parts(info.directory)
    files = {path.name.split("_1_")[0].split("_2_")[0] for path in part.rglob("*.png")}
    logged = {key.split(".")[0] for item in records(part, "history") for key in item["item"] if "plots/" in key}
    assert files == shown
    assert logged == {f"plots/{name}" for name in shown}
    assert ("sample_sheet, feature_maps not logged" in capfd.readouterr().err) == ("sample_sheet" not in shown)


def test_a_resumed_offline_run_is_a_second_part_with_the_same_id(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first = run_info(tmp_path / "run")
    tracker = WandbTracker(WandbTracker.Config(mode="offline"))
    tracker.on_run_start(first)
    tracker.on_log(row(1))
    tracker.close()
    track(run_info(tmp_path / "run", state=dict(first.state), resumed_from_step=1), range(2, 5), mode="offline")
    both = parts(tmp_path / "run")
    assert len(both) == 2
    assert {run["run_id"] for part in both for run in records(part, "run")} == {first.state["wandb_id"]}
    assert f"wandb sync {both[0]} {both[1]}" in capfd.readouterr().err


def test_a_part_that_a_kill_left_without_rows_is_not_to_be_sent(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    info = run_info(tmp_path / "run", state={"wandb_id": "known"})
    empty = info.directory / "wandb" / "offline-run-20260101_000000-known"
    empty.mkdir(parents=True)
    (empty / "run-known.wandb").write_bytes(bytes(7))
    track(info, range(1, 5), mode="offline")
    _, part = parts(info.directory)
    assert f"wandb sync {part}\n" in capfd.readouterr().err


@pytest.mark.parametrize("options", [{"tags": [""]}, {"tags": ["a" * 65]}, {"timeout": float("inf")}])
def test_options_that_wandb_would_refuse_are_refused_before_the_run(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WandbTracker.Config(**options)


def test_a_run_is_killed_before_its_first_checkpoint_and_keeps_its_id(tmp_path: Path) -> None:
    first = run_info(tmp_path / "run")
    tracker = WandbTracker(WandbTracker.Config(mode="offline"))
    tracker.on_run_start(first)
    tracker.close()
    assert read_kept(first.directory) == {"wandb_id": first.state["wandb_id"]}


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_wandb import WandbTracker, row, run_info
info = run_info(Path(sys.argv[1]))
tracker = WandbTracker(WandbTracker.Config(mode="offline"))
tracker.on_run_start(info)
tracker.on_log(row(1))
print(info.state["wandb_id"], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.exhaustive
def test_a_process_killed_below_one_that_uses_wandb_leaves_a_run_that_this_one_resumes(tmp_path: Path) -> None:
    track(run_info(tmp_path / "other"), range(1, 2), mode="offline")  # from now on children would share our service
    words = [sys.executable, "-c", KILLED, str(tmp_path / "run"), str(Path(__file__).parent)]
    killed = subprocess.run(words, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    known = killed.stdout.strip()
    track(run_info(tmp_path / "run", state={"wandb_id": known}, resumed_from_step=1), range(2, 5), mode="offline")
    assert [run["run_id"] for part in parts(tmp_path / "run") for run in records(part, "run")][-1] == known
    assert len(parts(tmp_path / "run")) == 2


def test_disabled_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    info = run_info(tmp_path / "run")
    track(info, range(1, 3))
    assert not (info.directory / "wandb").exists()


def test_auto_is_online_only_for_who_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not logged_in()
    assert decide_mode("auto") == "offline"
    (tmp_path / "netrc").write_text("machine elsewhere.example login user password secret\n")
    assert not logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    assert decide_mode("auto") == "online"
    assert decide_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert decide_mode("auto") == "offline"
    monkeypatch.delenv("WANDB_MODE")
    (tmp_path / "netrc").write_text("no netrc at all {\n")
    assert decide_mode("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert decide_mode("auto") == "online"


def test_logged_in_without_a_network_auto_keeps_the_run_here_even_when_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    info = run_info(tmp_path / "run", state={"wandb_id": "abc"}, resumed_from_step=2)
    track(info, range(3, 5), timeout=1)
    (part,) = parts(info.directory)
    assert [run["run_id"] for run in records(part, "run")] == ["abc"]
    assert "no connection, so the run is kept here" in capfd.readouterr().err


def test_online_without_a_network_warns_once_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    callbacks = CallbackList([WandbTracker(WandbTracker.Config(mode="online", timeout=1))])
    with pytest.warns(UserWarning, match="WandbTracker failed in on_run_start"):
        callbacks.on_run_start(run_info(tmp_path / "run"))
    callbacks.on_log(row(1))
    callbacks.on_run_end({"status": "done"}, [])
    callbacks.close()


@pytest.mark.exhaustive
@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are POSIX")
def test_on_a_terminal_without_a_login_nobody_is_asked(tmp_path: Path) -> None:
    import pty

    code = f"""
import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})
from pathlib import Path
from test_wandb import run_info, track
track(run_info(Path({str(tmp_path / "run")!r})), range(1, 3))
"""
    outside, terminal = pty.openpty()
    try:
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, stdin=terminal, stderr=terminal, stdout=subprocess.PIPE, timeout=60)
    finally:
        os.close(outside)
        os.close(terminal)
    assert done.returncode == 0
    assert done.stdout == b""
    assert len(parts(tmp_path / "run")) == 1
