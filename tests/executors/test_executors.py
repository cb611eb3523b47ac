"""Runs on several workers come to what one process comes to, also where workers die."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from helpers.comparisons import compare, run_folders
from helpers.tiny_runs import Said, localrules, metrics

from localrules import Executor, Resources, WorkerLost
from localrules.comparison.execute import ATTEMPTS, run_all
from localrules.comparison.plan import PlannedRun, plan
from localrules.comparison.run_record import RunRecord
from localrules.config.settings import Settings
from localrules.errors import LocalRulesError, UsageError
from localrules.registry.registry import Registry
from localrules.runs.executor import make_executor
from localrules_executors.local import own_cores, visible_gpus

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")]

REGISTRY = Registry.load(allow=[])
TREE: dict[str, Any] = {
    "model": {"name": "mlp", "hidden": [8]},
    "data": {"name": "faces", "train": 70, "valid": 14, "test": 7},
    "steps": 4,
    "batch_size": 21,
    "plots": False,
    "threads": 1,
    "checkpoint_every": 1,
    "log_every": 1,
}


def planned(seeds: int = 2, **settings: Any) -> list[PlannedRun]:
    return plan(["local-ce", "backprop"], Settings.from_tree({**TREE, **settings}), seeds, REGISTRY)


def local(workers: int, tmp_path: Path) -> Executor:
    made = make_executor("local", workers, tmp_path / "executor", REGISTRY)
    assert made is not None
    return made


def told(runs: list[RunRecord]) -> list[Any]:
    """The results of runs, bit for bit, but for their times."""
    return [
        (run.rule, run.config.seed, metrics(run.folder), (run.folder / "checkpoints/last.safetensors").read_bytes())
        for run in runs
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The same runs in this process, one after the other."""
    runs, diverged = run_all(planned(), tmp_path_factory.mktemp("alone") / "runs", REGISTRY)
    assert not diverged
    return told(runs)


def killed(folder: Path, process: int) -> None:
    """Kill a process as soon as its run has a checkpoint."""
    while not list(folder.glob("*/checkpoints/last.safetensors")):
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)


class Lossy(Executor):
    """Executes here, and loses its first workers: before they begin, and after they have begun."""

    losses = 2

    def execute(self, work: Callable[[], Any], resources: Resources) -> Any:
        self.losses -= 1
        if self.losses == 1:
            raise WorkerLost("it never began")
        outcome = pickle.loads(pickle.dumps(work))()
        if self.losses == 0:
            raise WorkerLost("its answer was lost")
        return outcome

    def close(self) -> None:
        self.closed = True


def test_two_workers_come_to_the_bits_of_one_process(alone: list[Any], tmp_path: Path) -> None:
    said: list[str] = []
    runs, _ = run_all(planned(), tmp_path / "runs", REGISTRY, log=said.append, executor=local(2, tmp_path))
    assert told(runs) == alone
    assert sum(line.endswith(", done") for line in said) == 4


@pytest.mark.slow
def test_a_run_whose_process_is_killed_goes_on_in_another(tmp_path: Path) -> None:
    executor = local(1, tmp_path)
    (wanted,) = [one for one in planned(1, steps=100, log_every=50) if one.rule == "backprop"]
    said: list[str] = []
    work = partial(run_all, [wanted], tmp_path / "runs", REGISTRY, log=said.append, executor=executor)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    while not executor._alive:  # type: ignore[attr-defined]
        time.sleep(0.002)
    (process,) = executor._alive  # type: ignore[attr-defined]
    killed(tmp_path / "runs", process.pid)
    thread.join(60)
    unbroken, _ = run_all([wanted], tmp_path / "unbroken", REGISTRY)
    assert told(found[0][0]) == told(unbroken)
    assert any("its process was ended by SIGKILL" in line for line in said)
    assert said[-2].endswith(", goes on")
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_lost_run_is_resumed_and_not_repeated(alone: list[Any], tmp_path: Path) -> None:
    executor = Lossy(Lossy.Config(), 1, tmp_path)
    said: list[str] = []
    runs, _ = run_all(planned()[:1], tmp_path / "runs", REGISTRY, log=said.append, executor=executor)
    assert told(runs) == alone[:1]
    assert len(list((tmp_path / "runs").iterdir())) == 1
    assert [line for line in said if "lost" in line] == [
        "run 1 of 1: local-ce, seed 0: its worker is lost, it never began",
        "run 1 of 1: local-ce, seed 0: its worker is lost, its answer was lost",
    ]
    assert executor.closed


def test_a_run_that_loses_every_worker_ends_with_an_error(tmp_path: Path) -> None:
    executor = Lossy(Lossy.Config(), 1, tmp_path)
    executor.execute = lambda work, resources: (_ for _ in ()).throw(WorkerLost("gone"))  # type: ignore[method-assign]
    with pytest.raises(LocalRulesError, match=f"{ATTEMPTS} workers were lost") as failed:
        run_all(planned()[:1], tmp_path / "runs", REGISTRY, executor=executor)
    assert failed.value.why == "gone"


def test_errors_of_a_worker_are_those_of_a_run(tmp_path: Path) -> None:
    executor = Lossy(Lossy.Config(), 1, tmp_path)
    executor.losses = -1
    with pytest.raises(UsageError, match="would be shifted out of sight"):
        run_all([planned()[0].__class__(**{**vars(planned()[0]), "run": planned()[0].run.with_settings(
            augment=planned()[0].config.augment.model_copy(update={"shift": 99}))})], tmp_path / "r", REGISTRY,
            executor=executor)  # fmt: skip


def test_a_run_that_diverges_on_a_worker_is_left_out(tmp_path: Path) -> None:
    executor = Lossy(Lossy.Config(), 1, tmp_path)
    executor.losses = -1
    wild = plan(["backprop", "local-ce"], {**TREE, "optimizer": {"name": "sgd", "lr": 1e30}}, 1, REGISTRY)[:1]
    runs, diverged = run_all(wild, tmp_path / "runs", REGISTRY, executor=executor)
    assert runs == []
    assert diverged == [f"backprop with seed 0 is left out: {diverged[0].partition(': ')[2]}"]


@pytest.mark.slow
def test_the_command_prints_one_document_and_the_same(tmp_path: Path) -> None:
    found = []
    for name, words in {"one": [], "two": ["--executor", "local", "--workers", "2"]}.items():
        said = compare(tmp_path / name, *words, seeds=1)
        assert said.code == 0, said.err
        found.append([(row["rule"], row["valid_accuracy_mean"]) for row in said.document])
        assert ("seed 0, done" in said.err) == (name == "two")
    assert found[0] == found[1]
    assert len(run_folders(tmp_path / "two")) == 2


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["--executor", "nearby"], "no executor"),
        (["--executor-option", "grace=3"], "not named"),
        (["--executor", "local", "--executor-option", "graze=3"], "graze"),
    ],
)
def test_executors_that_there_are_not_are_refused(words: list[str], what: str, tmp_path: Path) -> None:
    said: Said = localrules("compare", "--rules", "local-ce,backprop", "--model", "mlp", "--data", "faces", *words,
                            "--out", tmp_path / "out", "--json")  # fmt: skip
    assert said.code == 2
    assert what in said.error["what"]
    assert not list(tmp_path.glob("out/runs/*"))


def test_a_name_is_needed_only_for_other_executors_than_the_default(tmp_path: Path) -> None:
    assert make_executor(None, 1, tmp_path, REGISTRY) is None
    made = make_executor(None, 2, tmp_path, REGISTRY)
    assert type(made).__name__ == "LocalExecutor"
    with pytest.raises(UsageError, match="no worker"):
        make_executor(None, 0, tmp_path, REGISTRY)


def test_workers_divide_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 6, 7}, raising=False)
    assert [own_cores(slot, 2, 2) for slot in range(2)] == [[3, 5], [6, 7]]
    assert own_cores(0, 2, 3) == []  # a run that wants more than its part is kept to no core
    assert own_cores(0, 8, 1) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6")
    assert [visible_gpus(slot, 1)["CUDA_VISIBLE_DEVICES"] for slot in range(4)] == ["4", "5", "6", "4"]
    assert visible_gpus(1, 2) == {"CUDA_VISIBLE_DEVICES": "6,4"}
    assert visible_gpus(0, 0) == visible_gpus(0, 3) == {}


def test_a_registry_is_loaded_anew_where_it_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from localrules import Objective\nclass Mine(Objective):\n    'Mine.'\nRULES = {'mine': Mine}\n")
    sent = pickle.loads(pickle.dumps(Registry.load(allow=[], block=["diffusion"], files=[file])))
    assert sent.find("rule", "mine").status == "ok"
    assert "noprop" not in [item.entry.name for item in sent.entries("rule")]
