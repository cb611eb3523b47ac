"""Runs in several processes: started here or by torchrun, killed, stopped, and continued."""

from __future__ import annotations

import glob
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from helpers.during_runs import at_step, interrupt, send
from helpers.tiny_runs import FACES, MLP, SHORT, STEPS, localrules, metrics, only_run, train
from helpers.torchrun import run_by_torchrun

from localrules.engine import trainer
from localrules.errors import PluginCodeError
from localrules.runs.processes import is_of_lost_connection
from localrules.utils.launch_env import Launch, external_launch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server"),
]

SETTING = [*FACES, *MLP, "--set", "model.norm=false", *SHORT, "--rule", "hsic-projected", "--set", "optimizer.name=sgd"]
TWO = [*SETTING, "--devices", "2", "--checkpoint-every", "3", "--set", "process_timeout=3"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tmp_path_factory.mktemp("unbroken"), setting=TWO)


def test_two_processes_log_and_learn_what_one_does(unbroken: dict[str, Any], tmp_path: Path) -> None:
    assert (unbroken["devices"], unbroken["parallel"], unbroken["steps"]) == (2, "data", STEPS)
    alone = train(tmp_path, setting=SETTING)
    assert (alone["devices"], alone["parallel"]) == (1, None)
    for row, expected in zip(metrics(unbroken["run_dir"]), metrics(alone["run_dir"]), strict=True):
        assert row.keys() == expected.keys()
        numbers = [name for name in row if name != "phase" and row[name]]
        assert [float(row[name]) for name in numbers] == pytest.approx(
            [float(expected[name]) for name in numbers], 1e-4
        )


def test_nothing_of_a_run_stays_in_the_process(unbroken: dict[str, Any]) -> None:
    assert multiprocessing.active_children() == []
    assert "RANK" not in os.environ
    assert external_launch() is None


def test_a_run_that_is_stopped_killed_and_hangs_resumes_to_the_bits_of_an_unbroken_one(
    unbroken: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_step(4, interrupt, trainer, monkeypatch)
    stopped = localrules("run", *TWO, "--out", tmp_path, "--json")
    folder = only_run(tmp_path)
    again = f"localrules run --resume {folder}"
    assert (stopped.code, stopped.error["what"]) == (1, f"stopped at step 5 of {STEPS}")

    at_step(7, lambda: send(signal.SIGKILL), trainer, monkeypatch)
    killed = localrules("run", "--resume", folder, "--json")
    assert killed.code == 1
    assert killed.error == {
        "what": "the run has lost rank 1",
        "where": str(folder),
        "why": "its process was ended by SIGKILL",
        "fix": again,
    }
    assert multiprocessing.active_children() == []

    at_step(8, lambda: send(signal.SIGSTOP), trainer, monkeypatch)
    hung = localrules("run", "--resume", folder, "--json")
    assert hung.code == 1
    assert hung.error == {**killed.error, "why": "it did not answer within 3 s"}
    assert multiprocessing.active_children() == []

    monkeypatch.undo()
    done = localrules("run", "--resume", folder, "--json")
    assert done.code == 0
    assert done.document["resumed_from_step"] == 6
    assert done.document["weights_sha256"] == unbroken["weights_sha256"]
    assert metrics(folder) == metrics(unbroken["run_dir"])


@pytest.mark.exhaustive
def test_the_others_end_when_the_main_process_is_killed(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "localrules", "run", *TWO, "--steps", "2000", "--out", str(tmp_path)]
    environment = {**os.environ, "LOCALRULES_TEST": str(tmp_path)}
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(words, env=environment, stdout=errors, stderr=errors)
        while not any(path.stat().st_size > 200 for path in tmp_path.glob("*/metrics.csv")):
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
        process.wait()
    (folder,) = (path.parent for path in tmp_path.glob("*/config.toml"))
    limit = time.monotonic() + 30
    while processes_with(str(tmp_path)):
        assert time.monotonic() < limit
        time.sleep(0.1)
    said = (tmp_path / "errors").read_text()
    assert "Error   the run has lost rank 0" in said
    assert f"localrules run --resume {folder}" in said


FATAL = '''
import os
import signal
from pathlib import Path

from localrules_backprop.backprop import Backprop

class Fatal(Backprop):
    """Kills the main process from the other one, which has lost the connection before it can know why."""

    def step(self, network, batch, context):
        if os.environ["RANK"] == "1":
            fork_server = Path(f"/proc/{os.getppid()}/stat").read_text()
            os.kill(int(fork_server.rpartition(")")[2].split()[1]), signal.SIGKILL)
            raise RuntimeError("gloo: Connection closed by peer")
        return super().step(network, batch, context)

RULES = {"fatal": Fatal}
'''


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc").exists(), reason="reads from /proc who started whom")
def test_a_process_that_loses_the_connection_before_it_sees_the_main_process_end_names_it(tmp_path: Path) -> None:
    (tmp_path / "fatal.py").write_text(FATAL)
    words = [*FACES, *MLP, *SHORT, "--devices", "2", "--plugin", str(tmp_path / "fatal.py"), "--rule", "fatal"]
    words = [sys.executable, "-m", "localrules", "run", *words, "--out", str(tmp_path / "runs")]
    with (tmp_path / "errors").open("w") as errors:  # a pipe would be read to the end of all processes
        done = subprocess.run(words, stdout=errors, stderr=errors, check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    limit = time.monotonic() + 30
    while "Error   the run has lost rank 0" not in (tmp_path / "errors").read_text():
        assert time.monotonic() < limit
        time.sleep(0.1)


def processes_with(value: str) -> list[str]:
    """The processes that have a value in their environment."""
    found = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            environment = Path(path).read_bytes()
        except OSError:  # it has ended
            continue
        if f"LOCALRULES_TEST={value}".encode() in environment:
            found.append(path)
    return found


def test_processes_of_torchrun_are_one_run(unbroken: dict[str, Any], tmp_path: Path) -> None:
    words = ["run", *SETTING, "--checkpoint-every", "3", "--out", str(tmp_path / "runs"), "--json"]
    summary = run_by_torchrun(words, tmp_path)
    assert summary["run_dir"] == str(only_run(tmp_path / "runs"))
    assert (summary["devices"], summary["weights_sha256"]) == (2, unbroken["weights_sha256"])


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--batch-size", "33"], "the batch cannot be divided evenly"),
        (["--set", "parallel_layers=2"], "parallel_layers needs a run in one process"),
        (["--audit"], "audit needs a run in one process"),
        (["--diagnose", "angle"], "diagnostic angle needs a run in one process"),
    ],
)
def test_what_cannot_be_divided_is_said_before_any_work(words: list[str], what: str, tmp_path: Path) -> None:
    said = localrules("run", *TWO, *words, "--out", tmp_path / "runs", "--json")
    assert (said.code, said.error["what"]) == (2, what)
    assert not (tmp_path / "runs").exists()


def test_a_rule_that_needs_the_whole_batch_in_its_own_step_is_refused(tmp_path: Path) -> None:
    rule = tmp_path / "whole.py"
    rule.write_text(
        "from localrules import Requirements, Rule, RuleInfo\n"
        "class Whole(Rule):\n"
        "    info = RuleInfo(requires=Requirements(global_batch=True))\n"
        "    def step(self, network, batch, context): ...\n"
        'RULES = {"whole": Whole}\n'
    )
    said = localrules("run", *TWO, "--rule", "whole", "--plugin", rule, "--out", tmp_path / "runs", "--json")
    assert (said.code, said.error["what"]) == (2, "rule 'whole' cannot be trained on several processes")


def test_an_error_of_another_process_is_the_error_of_the_run(tmp_path: Path) -> None:
    rule = tmp_path / "broken.py"
    rule.write_text(
        "import os\nfrom localrules import Objective\n"
        "class Broken(Objective):\n"
        "    def forward(self, view):\n"
        '        if os.environ.get("RANK") == "1":\n'
        '            raise ArithmeticError("of rank 1 alone")\n'
        "        return view.output.square().mean()\n"
        'RULES = {"broken": Broken}\n'
    )
    said = localrules("run", *TWO, "--rule", "broken", "--plugin", rule, "--out", tmp_path / "runs", "--json")
    assert said.code == 1
    assert said.error["what"].startswith("rank 1: ")
    assert "of rank 1 alone" in said.error["why"]


@pytest.mark.parametrize("started_by", ["torchrun", "SLURM"])
def test_commands_that_work_in_one_process_say_so(started_by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torchrun = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
    slurm = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x2)"}
    for name, value in (torchrun if started_by == "torchrun" else slurm).items():
        monkeypatch.setenv(name, value)
    if started_by == "torchrun":
        monkeypatch.setenv("MASTER_ADDR", "host")
        monkeypatch.setenv("MASTER_PORT", "29400")
    assert external_launch() == Launch(started_by, rank=1, count=4, local_count=2)
    said = localrules("rules", "list")
    assert said.code == 2
    assert "localrules rules works in one process" in said.err


def test_an_error_of_a_plugin_that_speaks_of_a_connection_is_not_of_a_lost_process() -> None:
    def told(cause: Exception) -> PluginCodeError:
        error = PluginCodeError("Mine failed", why="RuntimeError: the skip connection has 3 maps")
        error.__cause__ = cause
        return error

    assert is_of_lost_connection(RuntimeError("Connection closed by peer"))
    assert is_of_lost_connection(told(RuntimeError("[gloo/transport/tcp/pair.cc:534] Connection closed by peer")))
    assert is_of_lost_connection(told(dist.DistNetworkError("recv timed out")))
    assert not is_of_lost_connection(told(RuntimeError("the skip connection has 3 maps")))
