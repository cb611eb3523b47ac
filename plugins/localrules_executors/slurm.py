"""Runs as jobs of SLURM, submitted by submitit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from localrules import Executor, Resources, WorkerLost
from localrules.errors import MissingDependencyError, UsageError, describe_exception

T = TypeVar("T")


class SlurmExecutor(Executor):
    """A job for each run, of one task. The machines share the folder of the command with this one.

    A job that reaches its time limit, or is preempted, is queued again and goes on from its last checkpoint.

    Raises:
        MissingDependencyError: The package ``submitit`` is not installed.
        UsageError: There is no SLURM here.
    """

    class Config(BaseModel):
        """Options of executor slurm."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        partition: str | None = Field(None, description="The partition; unset: the cluster's default.")
        account: str | None = Field(None, description="The account; unset: the user's default.")
        minutes: int = Field(1440, gt=0, description="Time limit of a job (ours: a day).")
        memory_gb: float | None = Field(None, gt=0, description="Memory of a job; unset: the cluster's default.")
        parameters: dict[str, Any] = Field(
            default_factory=dict, description="Further parameters of sbatch, e.g. {qos = 'low', constraint = 'a100'}."
        )
        cluster: Literal["slurm", "local"] = Field(
            "slurm", description="local: processes of this machine in place of jobs, to try a command."
        )

    config: Config

    def __init__(self, config: BaseModel, workers: int, folder: Path) -> None:
        super().__init__(config, workers, folder)
        try:
            import submitit
        except ImportError:
            raise MissingDependencyError(
                "executor slurm needs the package submitit",
                where="--executor slurm",
                fix="pip install 'localrules[slurm]'",
            ) from None
        try:
            self._submitit = submitit.AutoExecutor(folder=folder.absolute() / "jobs", cluster=self.config.cluster)
        except Exception as error:
            raise UsageError(
                "jobs cannot be submitted here",
                where=f"--executor slurm, cluster {self.config.cluster}",
                why=describe_exception(error),
                fix="call the command where sbatch is found, or try it with --executor-option cluster=local",
            ) from error
        self._lost = (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedJobError)
        self._jobs: set[Any] = set()
        self._lock = threading.Lock()
        self._closed = False

    def execute(self, work: Callable[[], T], resources: Resources) -> T:
        with self._lock:  # the parameters are those of the next job
            if self._closed:
                raise WorkerLost("the executor is closed")
            self._submitit.update_parameters(**self._parameters(resources))
            job = self._submitit.submit(_Job(work))
            self._jobs.add(job)
        try:
            result: T = job.result()
            return result
        except self._lost as error:
            raise WorkerLost(f"job {job.job_id} has ended without a result: {_last_line(error)}") from error
        finally:
            with self._lock:
                self._jobs.discard(job)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            jobs = list(self._jobs)
        for job in jobs:
            with suppress(Exception):
                job.cancel()

    def _parameters(self, resources: Resources) -> dict[str, Any]:
        given = {
            "name": "localrules",
            "timeout_min": self.config.minutes,
            "cpus_per_task": resources.threads,
            "gpus_per_node": resources.gpus,
            "mem_gb": self.config.memory_gb,
            "slurm_partition": self.config.partition,
            "slurm_account": self.config.account,
            "slurm_additional_parameters": self.config.parameters or None,
        }
        return {name: value for name, value in given.items() if value is not None}


class _Job(Generic[T]):
    """Work that is submitted again by submitit when SLURM takes its time away."""

    def __init__(self, work: Callable[[], T]) -> None:
        self.work = work

    def __call__(self) -> T:
        return self.work()

    def checkpoint(self) -> Any:
        """Called by submitit in the job, before it is queued again: run folders hold all that is needed."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
