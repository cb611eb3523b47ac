"""Ctrl-C finishes the step, writes a checkpoint and says how to go on; a second Ctrl-C ends at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.exhaustive import few
from helpers.tiny_runs import TINY, command, localrules_code, metrics, only_run, resume, start_process, train

from localrules.engine import step as stepping
from localrules.engine import trainer

pytestmark = pytest.mark.slow

MANY = ["run", "--rule", "hsic", *TINY, "--steps", "400", "--set", "eval_batch_size=70"]


def signal_at(step: int, numbers: list[int], words: list[str], errors: Path) -> None:
    """Raise signals while a step is under way."""

    def train_step(session: object, phase: object, at: int) -> object:
        if at == step:
            for number in numbers:
                os.kill(os.getpid(), number)
        return stepping.train_step(session, phase, at)  # type: ignore[arg-type]

    trainer.train_step = train_step  # type: ignore[assignment]
    command(words, errors)


def signal_at_under_nohup(step: int, numbers: list[int], words: list[str], errors: Path) -> None:
    """The same in a process that ignores hang-ups."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal_at(step, numbers, words, errors)


@pytest.mark.parametrize("number", few([signal.SIGINT, signal.SIGTERM], {"SIGTERM"}, lambda number: number.name))
def test_one_signal_finishes_the_step_and_leaves_a_checkpoint(number: int, tmp_path: Path) -> None:
    words = ["run", "--rule", "hsic", *TINY]
    process = start_process(signal_at, 6, [number], [*words, "--out", str(tmp_path / "runs")], tmp_path / "errors")
    process.join()
    assert process.exitcode == 1
    folder = only_run(tmp_path / "runs")
    errors = (tmp_path / "errors").read_text()
    assert "Error   stopped at step 7 of 12" in errors
    assert "localrules run --resume " in errors
    assert "Traceback" not in errors
    stopped = json.loads((folder / "summary.json").read_text())
    assert (stopped["status"], stopped["steps"], stopped["valid_accuracy"]) == ("stopped", 7, None)
    summary = resume(folder)
    assert summary["resumed_from_step"] == 7
    unbroken = train(tmp_path / "unbroken", *words[1:], setting=[])
    assert summary["weights_sha256"] == unbroken["weights_sha256"]
    assert metrics(folder) == metrics(unbroken["run_dir"])
    assert json.loads((folder / "summary.json").read_text())["status"] == "done"


def test_a_second_ctrl_c_ends_at_once_and_what_was_checkpointed_goes_on(tmp_path: Path) -> None:
    words = ["run", "--rule", "hsic", *TINY, "--checkpoint-every", "4"]
    twice = [signal.SIGINT, signal.SIGINT]
    process = start_process(signal_at, 6, twice, [*words, "--out", str(tmp_path / "runs")], tmp_path / "errors")
    process.join()
    assert process.exitcode == 1
    errors = (tmp_path / "errors").read_text()
    assert "Error   interrupted" in errors
    assert "--resume" in errors
    assert "Traceback" not in errors
    folder = only_run(tmp_path / "runs")
    assert not (folder / "summary.json").exists()
    assert resume(folder)["resumed_from_step"] == 4


def test_a_stopped_run_that_goes_on_and_is_ended_at_once_is_no_longer_a_stopped_one(tmp_path: Path) -> None:
    words = ["run", "--rule", "hsic", *TINY, "--out", str(tmp_path / "runs")]
    start_process(signal_at, 3, [signal.SIGINT], words, tmp_path / "errors").join()
    folder = only_run(tmp_path / "runs")
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"
    again = ["run", "--resume", str(folder)]
    start_process(signal_at, 6, [signal.SIGINT, signal.SIGINT], again, tmp_path / "errors").join()
    assert not (folder / "summary.json").exists()
    assert resume(folder)["resumed_from_step"] == 4


def test_ctrl_c_in_the_last_step_comes_too_late_to_stop_anything(tmp_path: Path) -> None:
    words = ["run", "--rule", "hsic", *TINY, "--out", str(tmp_path / "runs")]
    process = start_process(signal_at, 11, [signal.SIGINT], words, tmp_path / "errors")
    process.join()
    assert process.exitcode == 0
    assert json.loads((only_run(tmp_path / "runs") / "summary.json").read_text())["status"] == "done"


def test_the_real_command_under_json_prints_one_error_document(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "localrules", *MANY, "--out", str(tmp_path), "--json"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not any(path.stat().st_size > 200 for path in tmp_path.glob("*/metrics.csv")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 1
    error = json.loads(out)["error"]
    assert error["what"].startswith("stopped at step ")
    assert error["fix"] == f"localrules run --resume {only_run(tmp_path)}"
    assert "hsic trains mlp on faces" in err
    assert "Traceback" not in err


def test_the_command_that_resumes_names_the_plugin_file_and_quotes_the_folder(tmp_path: Path) -> None:
    rule = tmp_path / "a rule.py"
    rule.write_text(
        "from localrules import Objective\n"
        "class Mine(Objective):\n"
        "    def forward(self, view):\n"
        "        return view.output.square().mean()\n"
        'RULES = {"mine": Mine}\n'
    )
    place, errors = tmp_path / "my runs", tmp_path / "errors"
    words = ["run", "--rule", "mine", "--plugin", str(rule), *TINY, "--out", str(place), "--json"]
    process = start_process(signal_at, 6, [signal.SIGINT], words, errors)
    process.join()
    assert process.exitcode == 1
    assert f"localrules run --resume '{only_run(place)}' --plugin '{rule}'" in errors.read_text()
    assert localrules_code(["run", "--resume", str(only_run(place)), "--plugin", str(rule)]) == 0


def test_a_signal_that_the_process_was_started_to_ignore_stays_ignored(tmp_path: Path) -> None:
    """Under nohup a hang-up does not stop the run."""
    words = ["run", "--rule", "hsic", *TINY, "--out", str(tmp_path / "runs")]
    process = start_process(signal_at_under_nohup, 6, [signal.SIGHUP], words, tmp_path / "errors")
    process.join()
    assert process.exitcode == 0
    assert json.loads((only_run(tmp_path / "runs") / "summary.json").read_text())["status"] == "done"
