"""Runs whose layers are divided among processes: the same results, refusals, and continued either way."""

from __future__ import annotations

import multiprocessing
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.during_runs import at_step, interrupt, saved_state, send
from helpers.tiny_runs import STEPS, TINY, localrules, metrics, only_run, resume, train
from helpers.torchrun import run_by_torchrun

from localrules.engine import trainer
from localrules.engine.pipeline import stage_steps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server"),
]

ALONE = [*TINY, "--rule", "local-ce", "--checkpoint-every", "6", "--set", "process_timeout=20"]
LAYERS = ["--devices", "2", "--parallel", "layers"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("alone"), setting=ALONE)


def test_it_logs_evaluates_and_saves_what_one_process_does(alone: dict[str, Any], tmp_path: Path) -> None:
    said = localrules("run", *ALONE, *LAYERS, "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    found = said.document
    assert (found["devices"], found["parallel"]) == (2, "layers")
    assert found["stages"] == len(found["stage_seconds"]) == 2
    assert all(0 < seconds < found["seconds"] for seconds in found["stage_seconds"])
    assert 0 <= found["bubble_fraction"] < 1
    same = ("weights_sha256", "valid_accuracy", "train_accuracy", "steps", "parameters")
    assert [found[name] for name in same] == [alone[name] for name in same]
    assert metrics(found["run_dir"]) == metrics(alone["run_dir"])
    torch.testing.assert_close(saved_state(found), saved_state(alone), rtol=0, atol=0)
    assert "stages busy" in said.err
    assert "they wait for" in said.err
    assert multiprocessing.active_children() == []


@pytest.mark.filterwarnings("ignore:fp16 is for GPUs")
def test_losses_that_are_scaled_in_fp16_have_the_scales_of_one_process(tmp_path: Path) -> None:
    words = [*ALONE, "--precision", "fp16"]
    expected = train(tmp_path / "alone", setting=words)
    said = localrules("run", *words, *LAYERS, "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    assert said.document["weights_sha256"] == expected["weights_sha256"]
    assert "loss_scale/layers.0" in metrics(expected["run_dir"])[0]
    assert metrics(said.document["run_dir"]) == metrics(expected["run_dir"])
    torch.testing.assert_close(saved_state(said.document), saved_state(expected), rtol=0, atol=0)


def test_processes_of_torchrun_divide_the_layers_too(alone: dict[str, Any], tmp_path: Path) -> None:
    words = ["run", *ALONE, "--parallel", "layers", "--out", str(tmp_path / "runs"), "--json"]
    found = run_by_torchrun([str(word) for word in words], tmp_path)
    assert (found["devices"], found["parallel"], len(found["stage_seconds"])) == (2, "layers", 2)
    assert found["weights_sha256"] == alone["weights_sha256"]
    assert metrics(found["run_dir"]) == metrics(alone["run_dir"])


def test_it_continues_a_run_of_one_process_and_is_continued_by_one_after_a_kill(
    alone: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(4, interrupt, trainer, monkeypatch)
    stopped = localrules("run", *ALONE, "--out", tmp_path, "--json")
    folder = only_run(tmp_path)
    assert stopped.error["what"] == f"stopped at step 5 of {STEPS}"

    at_step(10, lambda: send(signal.SIGKILL), stage_steps, monkeypatch)
    killed = localrules("run", "--resume", folder, *LAYERS, "--json")
    assert killed.code == 1
    assert killed.error == {
        "what": "the run has lost rank 1",
        "where": str(folder),
        "why": "its process was ended by SIGKILL",
        "fix": f"localrules run --resume {folder}",
    }
    assert multiprocessing.active_children() == []

    monkeypatch.undo()
    done = resume(folder)
    assert done["resumed_from_step"] == 6
    assert done["weights_sha256"] == alone["weights_sha256"]
    assert metrics(folder) == metrics(alone["run_dir"])


def test_a_run_that_is_stopped_continues_with_other_processes(
    alone: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(4, interrupt, stage_steps, monkeypatch)
    stopped = localrules("run", *ALONE, *LAYERS, "--out", tmp_path, "--json")
    folder = only_run(tmp_path)
    found = re.fullmatch(rf"stopped at step (\d+) of {STEPS}", stopped.error["what"])
    assert found
    assert 5 <= int(found[1]) <= 8  # stages may be ahead of the main process, to the end of an epoch
    monkeypatch.undo()
    done = resume(folder, "--devices", "3")
    assert (done["devices"], len(done["stage_seconds"])) == (3, 3)
    assert done["resumed_from_step"] == int(found[1])
    assert done["weights_sha256"] == alone["weights_sha256"]
    assert metrics(folder) == metrics(alone["run_dir"])


def test_windows_of_layers_reach_across_stages_and_can_be_stopped_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*ALONE, "--granularity", "window:2", "--set", "model.hidden=[12,12,8]"]
    expected = train(tmp_path / "alone", setting=words)
    at_step(4, interrupt, stage_steps, monkeypatch)
    stopped = localrules("run", *words, *LAYERS, "--out", tmp_path / "runs", "--json")
    assert stopped.error["what"].startswith("stopped at step")
    assert multiprocessing.active_children() == []
    monkeypatch.undo()
    folder = only_run(tmp_path / "runs")
    done = resume(folder)
    assert done["devices"] == 2
    assert done["weights_sha256"] == expected["weights_sha256"]
    assert metrics(folder) == metrics(expected["run_dir"])


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--rule", "backprop"], "processes cannot divide the layers that rule 'backprop' trains"),
        (["--rule", "dfa"], "processes cannot divide the layers that rule 'dfa' trains"),
        (["--rule", "man"], "processes cannot divide the layers that rule 'man' trains"),
        (["--rule", "cafo"], "processes cannot divide the layers that rule 'cafo' trains"),
        (
            ["--granularity", "window:2", "--precision", "fp16"],
            "processes cannot divide layers that learn in windows and in fp16",
        ),
        (["--audit"], "audit does not go together with processes that divide the layers"),
        (["--set", "parallel_layers=2"], "parallel_layers does not go together with processes that divide the layers"),
        (["--diagnose", "update"], "diagnostic update does not go together with processes that divide the layers"),
        (["--device", "cuda"], "device cuda does not go together with processes that divide the layers"),
        (["--devices", "4"], "4 processes cannot divide 3 layers"),
    ],
)
def test_what_cannot_be_divided_is_refused_before_any_work(words: list[str], what: str, tmp_path: Path) -> None:
    said = localrules("run", *ALONE, *LAYERS, *words, "--out", tmp_path / "runs", "--json")
    assert (said.code, said.error["what"]) == (2, what)
    assert said.error["why"]
    assert not (tmp_path / "runs").exists()


def test_one_process_ignores_it(tmp_path: Path) -> None:
    found = train(tmp_path, "--parallel", "layers", "--steps", "1", setting=ALONE)
    assert (found["devices"], found["parallel"], found["stage_seconds"]) == (1, None, None)
