"""The processes of a run, which this process, torchrun or SLURM has started."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch.distributed as dist

from localrules.callbacks.callback_list import CallbackList
from localrules.config.overrides import Tree
from localrules.engine import checkpoint
from localrules.engine.pipeline.stage_trainer import trainer_of
from localrules.engine.process_checks import check_processes
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.session import Session
from localrules.engine.trainer import TrainingInterrupted
from localrules.errors import LocalRulesError, PluginCodeError, UsageError
from localrules.registry.registry import Registry
from localrules.runs.result import RunResult
from localrules.utils.launch_env import Launch, external_launch
from localrules.utils.text import command_line

ANSWER_SECONDS = 5.0
"""For how long a process that has lost the others waits to learn why."""

_BACK_ENDS = ("gloo", "nccl")
_OF_LOST_CONNECTIONS = (*_BACK_ENDS, "connection", "socket", "broken pipe", "timed out", "timeout", "tcpstore")


class Processes:
    """The processes of a run. Here: one alone.

    Args:
        run: The run.
        registry: Where names are looked up.
        folder: The run folder, if there is one already.

    Attributes:
        folder: The run folder, once there is one.
        is_main: Whether this process writes the run folder and reports.
        waits_for_end: Whether processes that are not the main one return what the run has come to.
    """

    is_main = True
    waits_for_end = False

    def __init__(self, run: ResolvedRun, registry: Registry, folder: Path | None = None) -> None:
        self.folder = folder
        self._run, self._registry = run, registry

    def start(self) -> None:
        """Start those that nobody has started."""

    def explain(self, error: BaseException) -> BaseException:
        """The reason for which a run ended with this error; the error itself where no other process is to blame."""
        return error

    def end(self, *, failed: bool) -> None:
        """Leave the group, and see that nothing that was started here goes on."""

    def share_result(self, session: Session, result: RunResult) -> RunResult:
        """Send processes that wait for the end of the run what it has come to."""
        if self.waits_for_end:
            session.world.from_main(result.summary)
        return result

    def lost(self, ranks: list[int], why: str) -> LocalRulesError:
        """The error for a run that has lost processes."""
        if self.folder is None:
            where, fix = f"--devices {self._run.config.devices}", "start the run again"
        else:
            where = str(self.folder)
            fix = command_line(["run", "--resume", self.folder], self._registry.files)
        names = " and ".join(f"rank {rank}" for rank in ranks) if ranks else "a process"
        return LocalRulesError(f"the run has lost {names}", where=where, why=why, fix=fix)


class LaunchedProcesses(Processes):
    """The processes of a run that torchrun or SLURM has started."""

    waits_for_end = True

    def __init__(self, launch: Launch, run: ResolvedRun, registry: Registry, folder: Path | None = None) -> None:
        super().__init__(run, registry, folder)
        self._launch = launch
        self.is_main = launch.rank == 0
        if run.config.devices != launch.count:
            raise UsageError(
                f"{launch.launcher} has started {launch.count} processes",
                where=f"devices={run.config.devices}",
                why="a run has as many processes as its settings say",
                fix=f"start {run.config.devices}, or leave devices out; a run is resumed on as many as it began with",
            )

    def explain(self, error: BaseException) -> BaseException:
        if not is_of_lost_connection(error):
            return error
        return self.lost(
            self._missing(), f"its process has ended, or did not answer within {self._run.config.process_timeout:g} s"
        )

    def _missing(self) -> list[int]:
        """The processes that do not answer; none where nobody can be asked."""
        with suppress(Exception):
            store = dist.distributed_c10d._get_default_store()
            store.set(f"rank {self._launch.rank} is here", "")
            time.sleep(ANSWER_SECONDS)
            return [rank for rank in range(self._launch.count) if not store.check([f"rank {rank} is here"])]
        return []

    def end(self, *, failed: bool) -> None:
        leave_group()


@contextmanager
def processes_of(run: ResolvedRun, registry: Registry, folder: Path | None = None) -> Iterator[Processes]:
    """The processes of a run: those of torchrun or SLURM, or else started here.

    Args:
        run: The run.
        registry: Where names are looked up.
        folder: The run folder of a run that is resumed.

    Raises:
        UsageError: The run cannot be divided among processes, or there are more or fewer of them than it has.
        LocalRulesError: Another process was lost, or failed.
    """
    launch = external_launch()
    if run.config.devices > 1:
        check_processes(run)
    if launch is not None:
        processes: Processes = LaunchedProcesses(launch, run, registry, folder)
    elif run.config.devices > 1:
        from localrules.runs.local_processes import LocalProcesses

        processes = LocalProcesses(run, registry, folder)
    else:
        processes = Processes(run, registry, folder)
    failed = True
    try:
        processes.start()
        yield processes
        failed = False
    except BaseException as error:
        reason = processes.explain(error)
        if reason is error:
            raise
        raise reason from error
    finally:
        processes.end(failed=failed)


def follow(processes: Processes, run: ResolvedRun, registry: Registry) -> RunResult:
    """Take part in a run as a process that is not the main one: it trains, and writes nothing.

    Returns:
        The result of the run, if :attr:`Processes.waits_for_end`; otherwise with an empty summary.

    Raises:
        LocalRulesError: The run was stopped.
    """
    session = Session.build(run, join=True)
    start = session.world.from_main(None)
    processes.folder = Path(start["folder"])
    trainer = trainer_of(session, CallbackList([]), processes.folder, {})
    if start["state"] is not None:
        checkpoint.apply_state(session, start["state"])
        trainer.resume(start["state"]["progress"])
    try:
        trainer.run()
    except TrainingInterrupted:
        raise LocalRulesError(
            f"stopped at step {trainer.step}", where=start["folder"], why="rank 0 says more"
        ) from None
    summary = session.world.from_main(None) if processes.waits_for_end else {}
    return RunResult(processes.folder, summary, start["record"], registry)


def share_start(session: Session, folder: Path, record: Tree, progress: dict[str, Any] | None) -> None:
    """Send the other processes what they need beside the settings: the state of a run that is resumed."""
    if session.world.count > 1:
        state = checkpoint.session_state(session, progress) if progress else None
        session.world.from_main({"folder": str(folder), "record": record, "state": state})


def is_of_lost_connection(error: BaseException | None) -> bool:
    """Whether an error, or one that it came from, is torch's for a process that is gone or does not answer.

    Errors that came from a plugin's code must be of torch's own types or name its back end: their text is the plugin's.
    """
    words: tuple[str, ...] = _OF_LOST_CONNECTIONS
    while error is not None:
        if isinstance(error, dist.DistError):
            return True
        if isinstance(error, PluginCodeError):
            words = _BACK_ENDS
        elif isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False


def leave_group() -> None:
    """Leave the process group, if this process is in one."""
    with suppress(Exception):  # the others may have gone
        if dist.is_initialized():
            dist.destroy_process_group()
