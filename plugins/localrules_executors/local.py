"""Runs in processes of this machine."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from localrules import Executor, Resources, WorkerLost
from localrules.utils.child_process import start_child

T = TypeVar("T")

PRELOAD = ("localrules.comparison.worker", "localrules.runs.resume")


class LocalExecutor(Executor):
    """A process for each run, so that none inherits anything of another.

    The cores of this process are divided among the workers, and on Linux each keeps to its own. Where there are several
    GPUs, each worker sees its own.
    """

    class Config(BaseModel):
        """Options of executor local."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        grace: float = Field(
            60.0, gt=0, description="Seconds in which a run that is stopped may finish its step and save it (ours)."
        )

    config: Config

    def __init__(self, config: BaseModel, workers: int, folder: Path) -> None:
        super().__init__(config, workers, folder)
        self._slots: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(workers):
            self._slots.put(slot)
        self._alive: set[BaseProcess] = set()
        self._lock = threading.Lock()
        self._closed = False

    def execute(self, work: Callable[[], T], resources: Resources) -> T:
        slot = self._slots.get()
        try:
            return self._in_process(work, slot, resources)
        finally:
            self._slots.put(slot)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            stopped = list(self._alive)
        for process in stopped:
            process.terminate()
        for process in stopped:
            process.join(self.config.grace)
            process.kill()

    def _in_process(self, work: Callable[[], T], slot: int, resources: Resources) -> T:
        environment = {**os.environ, **visible_gpus(slot, resources.gpus)}
        cores = own_cores(slot, self.workers, resources.threads)
        with self._lock:
            if self._closed:
                raise WorkerLost("the executor is closed")
            process, link = start_child(
                _serve, (environment, os.getcwd(), cores, self.config.grace, work), PRELOAD, daemon=False
            )
            self._alive.add(process)
        try:
            wait([link, process.sentinel])
            with suppress(EOFError, OSError):
                if link.poll():
                    result: T = link.recv()
                    process.join(self.config.grace)
                    return result
            process.join()
            raise WorkerLost(f"its process {_end(process.exitcode or 0)}")
        finally:
            process.kill()
            process.join()
            link.close()
            with self._lock:
                self._alive.discard(process)


def own_cores(slot: int, workers: int, threads: int) -> list[int]:
    """The cores of a worker; none where it has to share them, or where the system cannot keep a process to some."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // workers
    return cores[slot * each : (slot + 1) * each] if each >= threads else []


def visible_gpus(slot: int, wanted: int) -> dict[str, str]:
    """The environment variable that shows a worker its own GPUs; empty where there are no more than it wants."""
    if wanted == 0:
        return {}
    import torch

    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    known = named.split(",") if named else [str(index) for index in range(torch.cuda.device_count())]
    if len(known) <= wanted:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(known[(slot * wanted + at) % len(known)] for at in range(wanted))}


def _end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _serve(
    environment: Mapping[str, str],
    home: str,
    cores: list[int],
    grace: float,
    work: Callable[[], Any],
    link: Connection,
) -> None:
    """In a process of its own: do some work."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(home)
    if cores:
        os.sched_setaffinity(0, cores)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, and the main one decides
    with suppress(OSError):
        os.dup2(2, 1)  # standard output is the command's
    threading.Thread(target=_stop_with_parent, args=(link, grace), daemon=True).start()
    link.send(work())


def _stop_with_parent(link: Connection, grace: float) -> None:
    """Let the run save its step and end, once the command is gone."""
    with suppress(EOFError, OSError):
        link.recv()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(grace)
    os._exit(1)
