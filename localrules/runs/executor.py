"""Executors: where the runs of a command with many of them execute."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict

from localrules.errors import UsageError

if TYPE_CHECKING:
    from localrules.config.schema import RunConfig
    from localrules.config.settings import Settings
    from localrules.registry.registry import Registry

T = TypeVar("T")

EXECUTOR = "executor"
"""The folder in that of a command where an executor keeps its files."""


@dataclass(frozen=True)
class Resources:
    """The part of a machine that a run needs.

    Attributes:
        threads: CPU threads, of all its processes.
        gpus: GPUs; 0 for a run on a CPU, or on a GPU that its settings name by number.
    """

    threads: int = 1
    gpus: int = 0

    @classmethod
    def of(cls, config: RunConfig) -> Resources:
        """Those of a run."""
        import torch

        on_gpu = config.device == "cuda" or (config.device == "auto" and torch.cuda.is_available())
        return cls(config.threads * config.parallel_layers * config.devices, config.devices if on_gpu else 0)


class WorkerLost(Exception):
    """A worker has ended before its work was done. The run is resumed by another one.

    Args:
        why: The reason in a few words, such as ``"its process was ended by SIGKILL"``.
    """


class Executor(ABC):
    """Executes the runs of ``compare``, ``reproduce`` and ``sweep``. A plugin's ``ExecutorEntry`` names a subclass.

    ``Config`` is a pydantic model of the options, filled from ``--executor-option NAME=VALUE``.

    Args:
        config: The options.
        workers: How many pieces of work may be executed at the same time.
        folder: Where it may keep files of its own; it need not exist yet.
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, config: BaseModel, workers: int, folder: Path) -> None:
        self.config, self.workers, self.folder = config, workers, folder

    @abstractmethod
    def execute(self, work: Callable[[], T], resources: Resources) -> T:
        """Execute work in another process, maybe on another machine, and wait for its result.

        Called from ``workers`` threads at the same time.

        Args:
            work: Can be pickled, as can its result. It raises nothing, and expects SIGTERM where it is to stop.
            resources: What it needs.

        Raises:
            WorkerLost: There is no result: the process has died, or :meth:`close` was called.
        """

    @abstractmethod
    def close(self) -> None:
        """Stop what is still being executed, and leave nothing behind. Called once, maybe while others wait."""


def make_executor(
    named: str | Mapping[str, Any] | Settings | None, workers: int, folder: Path, registry: Registry
) -> Executor | None:
    """The executor that a user asks for; ``None`` where runs are to execute in this process, one after the other.

    Args:
        named: A name, or a mapping with ``name`` and options. Unset: the default one if there are several workers.
        workers: How many runs may execute at the same time.
        folder: Where it may keep files of its own.
        registry: Where it is looked up.

    Raises:
        UsageError: An unknown name or option, no worker at all, or an executor that cannot work here.
    """
    from localrules.engine.resolve import resolve_component

    if workers < 1:
        raise UsageError("there is no worker", where=f"--workers {workers}", fix="choose 1 or more")
    if named is None:
        if workers == 1:
            return None
        ranked = registry.defaults("executor")
        if not ranked:
            raise UsageError(
                "no executor is named",
                where=f"--workers {workers}",
                why="no installed plugin declares a default",
                fix="name one: --executor NAME",
            )
        named = ranked[0].name
    settings = {"name": named} if isinstance(named, str) else named
    made: Executor = resolve_component("executor", settings, registry).build(workers, folder)
    return made
