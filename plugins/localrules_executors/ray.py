"""Runs on a Ray cluster."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from localrules import Executor, Resources, WorkerLost
from localrules.errors import MissingDependencyError, UsageError, describe_exception
from localrules.utils.global_state import GlobalState

T = TypeVar("T")


class RayExecutor(Executor):
    """A task of Ray for each run, with the CPUs and GPUs that it needs.

    The machines of a cluster have localrules installed, and share the folder of the command with this one.

    Raises:
        MissingDependencyError: The package ``ray`` is not installed.
        UsageError: There is no cluster at the address.
    """

    class Config(BaseModel):
        """Options of executor ray."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        address: str | None = Field(
            None,
            description="The cluster: ray://HOST:10001, HOST:6379 or auto. Unset: RAY_ADDRESS, or else a cluster on "
            "this machine that ends with the command.",
        )

    config: Config

    def __init__(self, config: BaseModel, workers: int, folder: Path) -> None:
        super().__init__(config, workers, folder)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        try:
            import ray
        except ImportError:
            raise MissingDependencyError(
                "executor ray needs the package ray", where="--executor ray", fix="pip install 'localrules[ray]'"
            ) from None
        state = GlobalState()
        try:
            ray.init(address=self.config.address, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise UsageError(
                "the Ray cluster cannot be used",
                where=f"--executor ray, address {self.config.address or 'unset'}",
                why=describe_exception(error),
                fix="check the address, or leave it out for a cluster on this machine",
            ) from error
        finally:
            state.restore()  # it replaces the handler of SIGTERM
        self._ray = ray
        self._cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        # A run that is lost is submitted anew by the command, which knows how often.
        self._do: Any = ray.remote(max_retries=0)(_do)
        self._at_work: set[Any] = set()
        self._lock = threading.Lock()
        self._closed = False

    def execute(self, work: Callable[[], T], resources: Resources) -> T:
        lost = self._ray.exceptions
        options = self._do.options(num_cpus=min(resources.threads, self._cpus), num_gpus=resources.gpus)
        with self._lock:
            if self._closed:
                raise WorkerLost("the executor is closed")
            task = options.remote(work)
            self._at_work.add(task)
        try:
            result: T = self._ray.get(task)
            return result
        except (lost.WorkerCrashedError, lost.NodeDiedError, lost.RaySystemError, lost.OutOfMemoryError) as error:
            raise WorkerLost(type(error).__name__) from error
        except (lost.TaskCancelledError, lost.ObjectLostError, lost.RayTaskError) as error:
            raise WorkerLost(describe_exception(error)) from error
        finally:
            with self._lock:
                self._at_work.discard(task)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            at_work = list(self._at_work)
        for task in at_work:
            with suppress(Exception):
                self._ray.cancel(task, force=True)
        self._ray.shutdown()


def _do(work: Callable[[], T]) -> T:
    return work()
