"""Online runs, end to end: the command line, W&B's own client, and a server on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from helpers.exhaustive import few
from helpers.tiny_runs import STEPS, TINY, localrules, only_run, resume, train
from helpers.wandb_server import WandbServer

from localrules.callbacks.base import Callback, MetricsRow, Stop
from localrules.errors import LocalRulesError

pytestmark = pytest.mark.slow

ONLINE = ["--rule", "local-ce", "--wandb", "online", "--set", "wandb.project=mine"]


def steps(server: WandbServer) -> list[int]:
    """The steps of the metrics rows that came."""
    return [row["step"] for row in server.run.history if "train/lr" in row]


@pytest.fixture
def _no_surprises(server: WandbServer) -> Any:
    yield
    assert server.unknown == []


@pytest.mark.usefixtures("_no_surprises")
def test_a_run_comes_with_its_metrics_charts_and_weights(tmp_path: Path, server: WandbServer) -> None:
    diagnosed = ["--diagnose", "all", "--set", "wandb.charts_every=0", "--set", "wandb.weights_every=2"]
    averaged = ["--set", "ema_decay=0.5", "--set", "tta_flip=true"]
    summary = train(tmp_path / "runs", *ONLINE, *diagnosed, *averaged, "--set", "log_every=1")
    run = server.run
    assert (run.entity, run.project, run.exit_code) == ("somebody", "mine", 0)
    assert run.config["rule"]["name"] == "local-ce"
    assert steps(server) == [*range(1, STEPS + 1)]
    assert run.summary["valid_accuracy"] == summary["valid_accuracy"]

    charts = [row for row in run.history if "charts/objective" in row]
    assert {row["step"] for row in charts} <= {4, 8, 12}  # epochs; one is left out where the server is slower
    assert charts[-1]["step"] == 12
    tables = ["objective", "gradient", "update", "angle", "probe", "cka", "hsic-input", "hsic-labels", "predictions"]
    drawn = ["information_plane", "accuracy_gained", "confusion", "recall", "calibration"]
    assert {f"charts/{name}" for name in tables} <= charts[-1].keys()
    assert {f"Custom Chart Tables/charts/{name}_table" for name in drawn} <= charts[-1].keys()
    table = json.loads(server.storage[f"{run.name}/{charts[-1]['charts/objective']['path']}"])
    assert table["columns"] == ["step", "depth", "layer", "objective"]
    assert {(row[0], row[2]) for row in table["data"]} == {
        (step, layer) for step in range(1, 13) for layer in ("layers.0", "layers.1", "readout")
    }

    final, at_epoch_2 = (server.artifacts_of("model")[place] for place in (-1, 0))
    assert (final.aliases, at_epoch_2.aliases) == (["latest"], ["epoch-2"])
    assert set(final.files) == {"README.md", "config.toml", "model.safetensors", "rule.safetensors"}
    card = server.storage[final.files["README.md"]].decode()
    assert f"localrules eval wandb:somebody/mine/{run.name}-weights:latest" in card
    assert "of the moving average of the weights, in eval mode, averaged over each image and its flip." in card


@pytest.mark.usefixtures("_no_surprises")
def test_weights_are_scored_and_used_where_the_run_is_not(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = train(tmp_path / "runs", *ONLINE)
    here = localrules("eval", trained["run_dir"], "--json").document
    image = tmp_path / "image.png"
    from PIL import Image

    Image.new("L", (48, 48), 90).save(image)
    at_home = localrules("predict", trained["run_dir"], image, "--json").document
    shutil.rmtree(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    place = f"wandb:somebody/mine/{server.run.name}-weights:latest"
    said = localrules("eval", place, "--json", "--wandb", "online")
    assert said.code == 0, said.err
    assert said.document["confusion"] == here["confusion"]
    (report,) = [run for run in server.runs.values() if run.fields["jobType"] == "eval"]
    assert report.summary["top1"] == here["top1"]
    assert "Custom Chart Tables/charts/confusion_table" in report.history[0]
    assert "UseArtifact" in server.asked
    elsewhere = localrules("predict", place, image, "--json").document
    assert elsewhere == at_home


def test_weights_that_are_not_there_are_an_error(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = localrules("eval", "wandb:somebody/mine/none:latest", "--json")
    assert said.code == 2
    assert "ENTITY/PROJECT/NAME:ALIAS" in said.error["fix"]
    assert not list(tmp_path.glob("artifacts/*"))


class At(Callback):
    """Does something at steps of a run."""

    def __init__(self, **work: Any) -> None:
        self.work = {int(step.removeprefix("step_")): call for step, call in work.items()}

    def on_log(self, row: MetricsRow) -> None:
        self.work.get(int(row["step"] or 0), lambda: None)()


def run_with(tmp_path: Path, callback: Callback, **more: Any) -> dict[str, Any]:
    """A tiny online run with a callback."""
    import localrules as package

    return package.train(
        rule="local-ce",
        model={"name": "mlp", "hidden": [12, 8]},
        data={"name": "faces", "train": 140, "valid": 70, "test": 70},
        steps=STEPS,
        batch_size=32,
        log_every=1,
        plots=False,
        threads=1,
        out=tmp_path / "runs",
        callbacks=[callback],
        **{"trackers.wandb": {"mode": "online", "charts_every": 0.0, "timeout": 3.0}, **more},
    ).summary


@pytest.mark.usefixtures("_no_surprises")
def test_a_run_that_is_resumed_goes_on_under_its_id(tmp_path: Path, server: WandbServer) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(LocalRulesError, match="interrupted"):
        run_with(tmp_path, At(step_6=interrupt), checkpoint_every=5)
    assert steps(server) == [*range(1, 6)]
    assert server.run.exit_code == 1
    resume(only_run(tmp_path / "runs"))
    assert steps(server) == [*range(1, STEPS + 1)]
    assert (len(server.runs), server.run.exit_code) == (1, 0)


@pytest.mark.usefixtures("_no_surprises")
@pytest.mark.parametrize(
    ("killed_at", "arrived"),
    [(8, 7), (8, 3), (8, 0), (2, 1), (2, 0)],
    ids=["later-rows-had-come", "rows-were-not-sent", "none-was-sent", "no-checkpoint", "no-checkpoint-none-sent"],
)
def test_a_run_that_is_killed_and_resumed_has_every_row_once(
    tmp_path: Path, server: WandbServer, killed_at: int, arrived: int
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(LocalRulesError, match="interrupted"):
        run_with(tmp_path, At(**{f"step_{killed_at}": interrupt}), checkpoint_every=5)
    assert steps(server) == [*range(1, killed_at)]
    lose_rows_after(server, arrived)
    resume(only_run(tmp_path / "runs"))
    assert steps(server) == [*range(1, STEPS + 1)]
    assert len(server.runs) == 1


def lose_rows_after(server: WandbServer, step: int) -> None:
    """Make it as if the process had been killed before it had sent what came after a step."""
    history = server.run.files["wandb-history.jsonl"]
    history[:] = [line for line in history if json.loads(line)["step"] <= step]
    server.run.files["wandb-summary.json"] = history[-1:] or ["{}"]


@pytest.mark.usefixtures("_no_surprises")
@pytest.mark.parametrize("charts", [{}, {"charts_every": 0.0}], ids=["charts-by-default", "charts-of-each-epoch"])
def test_a_run_that_is_stopped_is_shown_as_killed_and_at_its_last_step_and_goes_on_after_it(
    tmp_path: Path, server: WandbServer, charts: dict[str, Any]
) -> None:
    tracked = {"trackers.wandb": {"mode": "online", **charts}}
    with pytest.raises(LocalRulesError, match="stopped at step 6"):
        run_with(tmp_path, At(step_5=lambda: os.kill(os.getpid(), signal.SIGINT)), **tracked)
    assert (server.run.exit_code, server.run.summary["step"]) == (255, 6)
    resume(only_run(tmp_path / "runs"))
    assert steps(server) == [*range(1, STEPS + 1)]
    assert (server.run.exit_code, server.run.summary["step"]) == (0, STEPS)


@pytest.mark.usefixtures("_no_surprises")
def test_the_evaluation_of_a_callbacks_stop_comes_where_the_first_try_was_killed(
    tmp_path: Path, server: WandbServer
) -> None:
    import localrules as package

    def stop() -> None:
        raise Stop("enough")

    class StopThenDie(At):
        def on_log(self, row: MetricsRow) -> None:
            if "valid_accuracy" in row and row["step"] == 6:
                raise KeyboardInterrupt
            super().on_log(row)

    with pytest.raises(LocalRulesError, match="interrupted"):
        run_with(tmp_path, StopThenDie(step_6=stop), checkpoint_every=5)
    assert steps(server) == [*range(1, 7)]
    package.resume(only_run(tmp_path / "runs"), callbacks=[At(step_6=stop)])
    assert steps(server) == [*range(1, 7), 6]
    assert [row["step"] for row in server.run.history if "valid/accuracy" in row] == [0, 4, 6]


@pytest.mark.usefixtures("_no_surprises")
def test_a_run_that_is_killed_as_the_server_hears_of_it_leaves_no_second_one(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from localrules_wandb import tracker

    start = tracker.start_run

    def start_and_die(*given: Any, **options: Any) -> Any:
        start(*given, **options)[0].finish()  # as W&B's service is gone when a process is killed
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(LocalRulesError, match="interrupted"):
        patched.setattr(tracker, "start_run", start_and_die)
        run_with(tmp_path, At())
    resume(only_run(tmp_path / "runs"))
    assert len(server.runs) == 1
    assert steps(server) == [*range(1, STEPS + 1)]


@pytest.mark.usefixtures("_no_surprises")
@pytest.mark.parametrize("status", few([500, 503, 429], {"429"}))
def test_a_server_that_fails_for_a_while_has_every_row_in_the_end(
    tmp_path: Path, server: WandbServer, status: int
) -> None:
    def fail() -> None:
        server.status = status

    def heal() -> None:
        threading.Timer(0.3, lambda: setattr(server, "status", 0)).start()

    summary = run_with(tmp_path, At(step_4=fail, step_8=heal))
    assert summary["status"] == "done"
    assert server.refused > 0
    assert steps(server) == [*range(1, STEPS + 1)]
    assert server.run.summary["valid_accuracy"] == summary["valid_accuracy"]


@pytest.mark.usefixtures("_no_surprises")
def test_a_slow_server_holds_no_step_up(tmp_path: Path, server: WandbServer) -> None:
    fast = run_with(tmp_path / "fast", At())
    server.runs.clear()
    delay = 0.2
    slow = run_with(tmp_path / "slow", At(step_1=lambda: setattr(server, "delay", delay)))
    # Of training, since the end waits for what is not sent: half of what it is if each step waits for an answer.
    assert slow["seconds"] < fast["seconds"] + STEPS * delay / 2
    assert steps(server) == [*range(1, STEPS + 1)]


def test_a_connection_that_is_lost_for_good_leaves_the_rows_in_the_run_folder(
    tmp_path: Path, server: WandbServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_wandb import records

    for client in ("FILE_STREAM", "FILE_TRANSFER", "GRAPHQL"):
        monkeypatch.setenv(f"WANDB__{client}_RETRY_MAX", "1")
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "1")
    summary = run_with(tmp_path, At(step_4=lambda: setattr(server, "status", 500)))
    assert summary["status"] == "done"
    assert server.run.exit_code is None
    (part,) = (tmp_path / "runs").glob("*/wandb/run-*")
    rows = [item["item"] for item in records(part, "history")]
    assert [row["step"] for row in rows if "train/lr" in row] == [*range(1, STEPS + 1)]


def test_a_server_that_refuses_the_key_leaves_the_run_untracked(tmp_path: Path, server: WandbServer) -> None:
    server.status = 401
    with pytest.warns(UserWarning, match="WandbTracker failed in on_run_start"):
        summary = run_with(tmp_path, At())
    assert summary["status"] == "done"
    assert server.runs == {}
