"""Runs of replicas of stages: the results of divided batches, refusals, lost processes, and resumption by others."""

from __future__ import annotations

import multiprocessing
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.during_runs import at_step, interrupt, saved_state, send
from helpers.tiny_runs import FACES, MLP, SHORT, STEPS, metrics, only_run, resume, train
from helpers.tiny_runs import localrules as command
from helpers.torchrun import run_by_torchrun

import localrules
from localrules import Callback, Stop
from localrules.callbacks.base import MetricsRow
from localrules.engine import trainer
from localrules.engine.pipeline import stage_steps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server"),
]

SETTING = [*FACES, *MLP, *SHORT, "--rule", "local-ce", "--set", "optimizer.name=sgd", "--set", "sync_batchnorm=true"]
SETTING += ["--checkpoint-every", "6", "--set", "process_timeout=20"]
DATA = ["--devices", "2"]
GRID = ["--devices", "4", "--parallel", "layers", "--set", "stages=2"]


@pytest.fixture(scope="module")
def divided(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The run of two processes that divide the batches alone."""
    return train(tmp_path_factory.mktemp("divided"), *DATA, setting=SETTING)


def test_it_logs_evaluates_and_saves_what_divided_batches_do(divided: dict[str, Any], tmp_path: Path) -> None:
    said = command("run", *SETTING, *GRID, "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    found = said.document
    assert (found["devices"], found["parallel"], found["stages"]) == (4, "layers", 2)
    assert len(found["stage_seconds"]) == 2
    assert all(0 < seconds < found["seconds"] for seconds in found["stage_seconds"])
    assert 0 <= found["bubble_fraction"] < 1
    same = ("weights_sha256", "valid_accuracy", "train_accuracy", "steps", "parameters")
    assert [found[name] for name in same] == [divided[name] for name in same]
    assert metrics(found["run_dir"]) == metrics(divided["run_dir"])
    torch.testing.assert_close(saved_state(found), saved_state(divided), rtol=0, atol=0)
    assert "stages busy" in said.err
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("stages", [2, 4])
def test_processes_of_torchrun_on_two_machines_divide_layers_and_batches(
    stages: int, divided: dict[str, Any], tmp_path: Path
) -> None:
    """Each machine is a replica, or the stages of one replica are on both."""
    deeper = ["--set", "model.hidden=[12,12,8]"] if stages == 4 else []
    words = ["run", *SETTING, *deeper, "--parallel", "layers", "--set", f"stages={stages}", "--json"]
    found = run_by_torchrun([str(word) for word in [*words, "--out", tmp_path / "runs"]], tmp_path, nodes=2)
    assert (found["devices"], found["parallel"], found["stages"]) == (4, "layers", stages)
    expected = divided if stages == 2 else train(tmp_path / "alone", *deeper, setting=SETTING)
    assert found["weights_sha256"] == expected["weights_sha256"]
    assert metrics(found["run_dir"]) == metrics(expected["run_dir"])


def test_a_run_that_is_stopped_is_continued_by_processes_that_divide_the_batches_to_the_same_bits(
    divided: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(4, interrupt, stage_steps, monkeypatch)
    stopped = command("run", *SETTING, *GRID, "--out", tmp_path, "--json")
    found = re.fullmatch(rf"stopped at step (\d+) of {STEPS}", stopped.error["what"])
    assert found
    assert 5 <= int(found[1]) <= 8
    monkeypatch.undo()
    said = command("run", "--resume", only_run(tmp_path), *DATA, "--parallel", "data", "--set", "stages=1", "--json")
    assert said.code == 0, said.out
    assert "within rounding" not in said.err
    assert (said.document["parallel"], said.document["stages"]) == ("data", None)
    assert said.document["weights_sha256"] == divided["weights_sha256"]
    assert metrics(said.document["run_dir"]) == metrics(divided["run_dir"])


@pytest.mark.exhaustive
def test_one_process_continues_it_after_a_kill_and_is_continued_by_it(
    divided: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at: list[float] = []
    at_step(10, lambda: killed_at.append(time.monotonic()) or send(signal.SIGKILL), stage_steps, monkeypatch)
    killed = command("run", *SETTING, *GRID, "--out", tmp_path, "--json")
    folder = only_run(tmp_path)
    assert (killed.code, killed.error["what"]) == (1, "the run has lost rank 3")
    assert killed.error["why"] == "its process was ended by SIGKILL"
    assert time.monotonic() - killed_at[0] < 12
    assert multiprocessing.active_children() == []

    at_step(8, interrupt, trainer, monkeypatch)
    alone = command("run", "--resume", folder, "--devices", "1", "--json")
    assert alone.error["what"] == f"stopped at step 9 of {STEPS}"
    assert "batches were divided into 2 parts, and now are into 1" in alone.err

    monkeypatch.undo()
    done = resume(folder)
    assert (done["devices"], done["stages"], done["resumed_from_step"]) == (4, 2, 9)
    torch.testing.assert_close(saved_state(done), saved_state(divided), rtol=1e-5, atol=1e-6)
    for row, expected in zip(metrics(folder), metrics(divided["run_dir"]), strict=True):
        numbers = [name for name in row if name != "phase" and row[name]]
        assert [float(row[name]) for name in numbers] == pytest.approx(
            [float(expected[name]) for name in numbers], 1e-4
        )


class StopAt(Callback):
    """Stops a run when it logs a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_log(self, row: MetricsRow) -> None:
        if row["step"] == self.step:
            raise Stop("enough")


@pytest.mark.exhaustive
def test_a_callback_stops_all_processes(tmp_path: Path) -> None:
    short = {"steps": STEPS, "batch_size": 32, "threads": 1, "log_every": 1, "plots": False}
    found = localrules.train(
        {"name": "local-ce"},
        {"name": "mlp", "hidden": [12, 8]},
        {"name": "faces", "train": 140, "valid": 70, "test": 70},
        settings={**short, "devices": 4, "parallel": "layers", "stages": 2},
        out=tmp_path,
        callbacks=[StopAt(5)],
    )
    assert (found.summary["status"], found.summary["stop_reason"]) == ("done", "enough")
    assert 5 <= found.summary["steps"] <= 8  # the end of an epoch
    rows = found.metrics()
    assert list(rows["step"]) == list(range(found.summary["steps"] + 1))
    assert rows["valid_accuracy"].iloc[-1] == found.valid_accuracy
    assert multiprocessing.active_children() == []


@pytest.mark.exhaustive
def test_a_process_that_hangs_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_step(10, lambda: send(signal.SIGSTOP), stage_steps, monkeypatch)
    hung = command("run", *SETTING, *GRID, "--set", "process_timeout=3", "--out", tmp_path, "--json")
    assert (hung.code, hung.error["what"]) == (1, "the run has lost rank 3")
    assert hung.error["why"] == "it did not answer within 3 s"
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--set", "stages=3"], "4 processes cannot form groups of 3"),
        (["--set", "stages=8"], "4 processes cannot form groups of 8"),
        (["--parallel", "data"], "there are stages where processes divide the layers, and here they divide each batch"),
        (["--set", "stages=4"], "4 processes cannot divide 3 layers"),
        (["--batch-size", "33"], "the batch cannot be divided evenly"),
        (["--rule", "backprop"], "processes cannot divide the layers that rule 'backprop' trains"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_any_work(words: list[str], what: str, tmp_path: Path) -> None:
    said = command("run", *SETTING, *GRID, *words, "--out", tmp_path / "runs", "--json")
    assert (said.code, said.error["what"]) == (2, what)
    assert said.error["why"]
    assert not (tmp_path / "runs").exists()


def test_other_numbers_of_processes_that_divide_the_batches_alone_are_refused(
    divided: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(4, interrupt, trainer, monkeypatch)
    command("run", *SETTING, *DATA, "--out", tmp_path, "--json")
    said = command("run", "--resume", only_run(tmp_path), "--devices", "1", "--json")
    assert (said.code, said.error["what"]) == (2, "the settings differ from those of the run")
    monkeypatch.undo()
    done = resume(only_run(tmp_path), *GRID)
    assert done["weights_sha256"] == divided["weights_sha256"]
