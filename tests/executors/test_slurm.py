"""Jobs of SLURM, in place of which submitit starts processes of this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("submitit")

from localrules import Resources, WorkerLost
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.runs.executor import make_executor

REGISTRY = Registry.load(allow=[])


def jobs(tmp_path: Path, **options: Any) -> Any:
    return make_executor({"name": "slurm", "cluster": "local", **options}, 2, tmp_path, REGISTRY)


@pytest.mark.slow
def test_a_job_returns_its_result_and_one_that_dies_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0.1)  # for a file system to show a result
    executor = jobs(tmp_path)
    try:
        assert executor.execute(partial(divmod, 17, 5), Resources()) == (3, 2)
        import os

        with pytest.raises(WorkerLost, match="has ended without a result"):
            executor.execute(partial(os._exit, 3), Resources())
    finally:
        executor.close()
    with pytest.raises(WorkerLost, match="closed"):
        executor.execute(partial(divmod, 17, 5), Resources())


def test_a_job_asks_for_what_its_run_needs(tmp_path: Path) -> None:
    executor = jobs(tmp_path, partition="gpu", minutes=90, parameters={"qos": "low"})
    assert executor._parameters(Resources(threads=4, gpus=2)) == {
        "name": "localrules",
        "timeout_min": 90,
        "cpus_per_task": 4,
        "gpus_per_node": 2,
        "slurm_partition": "gpu",
        "slurm_additional_parameters": {"qos": "low"},
    }


def test_a_job_that_loses_its_time_is_queued_again() -> None:
    from localrules_executors.slurm import _Job

    job = _Job(partial(divmod, 17, 5))
    again = job.checkpoint()
    assert again.function is job
    assert again.result() == (3, 2)


def test_without_slurm_it_says_how_to_try_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="jobs cannot be submitted here") as failed:
        make_executor("slurm", 1, tmp_path, REGISTRY)
    assert "cluster=local" in failed.value.fix
