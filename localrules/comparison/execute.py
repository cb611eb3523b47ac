"""The execution of runs: in this process one after the other, or on the workers of an executor."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from localrules.comparison.plan import PlannedRun
from localrules.comparison.run_record import RunRecord, bring_to_end, find_existing, read_planned
from localrules.comparison.worker import MakeCallbacks, RunOutcome, RunTask
from localrules.config.diff import identity_settings
from localrules.engine.divergence import Diverged
from localrules.errors import LocalRulesError, warn
from localrules.runs.executor import Executor, Resources, WorkerLost
from localrules.runs.result import completed_summary

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

ATTEMPTS = 5
"""Workers that a run may lose, one after the other, before the command gives up."""


class RunPool:
    """Brings planned runs to their end. A finished one is not repeated, an interrupted one goes on.

    Without an executor a run executes when it is submitted, in this process. With one, runs execute on its workers, and
    one whose worker is lost goes on on another. The results are the same.

    Trackers, logging and the place of the data make no other run of a finished one.

    Args:
        place: Where run folders are and go.
        registry: Where names are looked up.
        callbacks: Makes the callbacks of a run in this process, which show its progress.
        log: Called with a line on what happens next.
        executor: Where runs execute; closed with the pool.
    """

    def __init__(
        self,
        place: Path,
        registry: Registry,
        callbacks: MakeCallbacks = list,
        log: Callable[[str], Any] = lambda line: None,
        executor: Executor | None = None,
    ) -> None:
        self._place, self._registry, self._callbacks, self._executor = place, registry, callbacks, executor
        self._log_line, self._log_lock = log, threading.Lock()
        self._threads = None if executor is None else ThreadPoolExecutor(executor.workers, "runs")
        self._known: dict[str, Future[RunRecord]] = {}
        self._closing = False

    @property
    def workers(self) -> int:
        """The number of runs that execute at the same time."""
        return 1 if self._executor is None else self._executor.workers

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is None or self._threads is None:
            return
        self._closing = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._executor.close()
        self._threads.shutdown()
        if isinstance(error, KeyboardInterrupt):
            raise LocalRulesError(
                "interrupted",
                where=str(self._place),
                why="the runs that were being executed were stopped, each with a checkpoint where it could write one",
                fix="repeat the command, which goes on where it stopped",
            ) from None

    def submit(self, wanted: PlannedRun, which: str, watch: MakeCallbacks = list) -> Future[RunRecord]:
        """Execute a run; the same one is executed once.

        Args:
            wanted: The run.
            which: What to call it in the log.
            watch: Makes further callbacks, wherever the run executes; can be pickled.

        Returns:
            Its record, once it is done. The future holds :class:`Diverged` for a run that has left the finite numbers.

        Raises:
            LocalRulesError: Without an executor: the run failed. Otherwise the future holds the error.
        """
        future: Future[RunRecord] = Future()
        folder = find_existing(wanted, self._place)
        if folder is not None and completed_summary(folder):
            if _key(wanted) not in self._known:
                self._log(f"{which}, done before")
            future.set_result(read_planned(folder, wanted))
        elif self._threads is None:
            self._log(which if folder is None else f"{which}, goes on")
            try:
                found = bring_to_end(wanted, self._place, self._registry, [*self._callbacks(), *watch()])
                future.set_result(read_planned(found, wanted))
            except Diverged as error:
                future.set_exception(error)
        else:
            key = _key(wanted)
            if key not in self._known:
                self._known[key] = self._threads.submit(self._execute, wanted, which, watch)
            future = self._known[key]
        return future

    def run_all(self, planned: Sequence[PlannedRun]) -> tuple[list[RunRecord], list[str]]:
        """Bring every planned run to its end.

        Returns:
            The finished runs, in order; and a line for each run that diverged, which does not prevent comparing the
            others.
        """
        runs, diverged = [], []
        for wanted, record, error in self.outcomes(planned):
            if record is not None:
                runs.append(record)
            else:
                diverged.append(f"{wanted.rule} with seed {wanted.config.seed} is left out: {error}")
                self._log(diverged[-1])
        return runs, diverged

    def outcomes(self, planned: Sequence[PlannedRun]) -> list[tuple[PlannedRun, RunRecord | None, str]]:
        """For each planned run its record, or ``None`` and the reason where it diverged."""
        waiting: list[tuple[PlannedRun, Future[RunRecord]]] = []
        found: list[tuple[PlannedRun, RunRecord | None, str]] = []
        try:
            for number, wanted in enumerate(planned, 1):
                which = f"run {number} of {len(planned)}: {wanted.rule}, seed {wanted.config.seed}"
                waiting.append((wanted, self.submit(wanted, which)))
            for wanted, future in waiting:
                try:
                    found.append((wanted, _for(wanted, future.result()), ""))
                except Diverged as error:
                    found.append((wanted, None, error.what))
        except LocalRulesError as error:
            if error.exit_code == 1:  # stopped by the user, or by something that may not last
                error.fix = f"{error.fix}; or repeat the comparison, which goes on where it stopped".removeprefix(
                    "; or "
                )
            raise
        return found

    def _execute(self, wanted: PlannedRun, which: str, watch: MakeCallbacks) -> RunRecord:
        """On a thread that waits for a worker: have the run executed, and again where a worker is lost."""
        assert self._executor is not None
        task = RunTask.from_planned(wanted, self._place, self._registry, watch)
        lost: list[str] = []
        while len(lost) < ATTEMPTS and not self._closing:
            going_on = find_existing(wanted, self._place) is not None
            self._log(f"{which}, goes on" if going_on else which)
            try:
                outcome: RunOutcome = self._executor.execute(task, Resources.of(wanted.config))
                if outcome.kind == "stopped":
                    raise WorkerLost("it was stopped by a signal")
            except WorkerLost as error:
                lost.append(str(error))
                if not self._closing:
                    self._log(f"{which}: its worker is lost, {error}")
                continue
            for message in outcome.warnings:
                with self._log_lock:
                    warn(message)
            if outcome.folder is None:
                raise outcome.as_error()
            self._log(f"{which}, done")
            return read_planned(outcome.folder, wanted)
        raise LocalRulesError(
            f"{len(lost)} workers were lost one after the other" if not self._closing else "stopped",
            where=which,
            why="; ".join(dict.fromkeys(lost)),
            fix="repeat the command, which goes on where it stopped",
        )

    def _log(self, line: str) -> None:
        with self._log_lock, suppress(ValueError):  # a stream that is closed already
            self._log_line(line)


def run_all(
    planned: Sequence[PlannedRun],
    place: Path,
    registry: Registry,
    callbacks: MakeCallbacks = list,
    log: Callable[[str], Any] = lambda line: None,
    executor: Executor | None = None,
) -> tuple[list[RunRecord], list[str]]:
    """Bring every planned run to its end; see :class:`RunPool` and :meth:`RunPool.run_all`."""
    with RunPool(place, registry, callbacks, log, executor) as pool:
        return pool.run_all(planned)


def _key(wanted: PlannedRun) -> str:
    """The same for runs that come to the same result."""
    asked = wanted.config.to_dict()
    parts = [asked["seed"], identity_settings(asked), wanted.fingerprint, wanted.supplied_by]
    return json.dumps(parts, sort_keys=True, default=str)


def _for(wanted: PlannedRun, record: RunRecord) -> RunRecord:
    """A record with the rule as it was typed here; another case may have asked for the same run."""
    return record if record.rule == wanted.rule else replace(record, rule=wanted.rule)
