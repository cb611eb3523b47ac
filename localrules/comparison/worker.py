"""A run as a piece of work for another process: all that it needs, and all that comes of it."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.callbacks.base import Callback
from localrules.config.schema import RunConfig
from localrules.errors import LocalRulesError, UsageError, describe_exception

if TYPE_CHECKING:
    from localrules.comparison.plan import PlannedRun
    from localrules.registry.registry import Registry

MakeCallbacks = Callable[[], Sequence[Callback]]


@dataclass(frozen=True)
class RunOutcome:
    """The end of a run: its folder, or an error.

    Attributes:
        folder: Its folder, where it is done.
        kind: Otherwise why it is not: ``diverged``, ``stopped`` by a signal, ``usage``, or ``failed``.
        error: The four parts of the error.
        warnings: What it warned of.
    """

    folder: Path | None = None
    kind: str = "done"
    error: tuple[str, str, str, str] = ("", "", "", "")
    warnings: tuple[str, ...] = ()

    def as_error(self) -> LocalRulesError:
        """The error for a run that is not done."""
        from localrules.engine.divergence import Diverged

        kinds = {"diverged": Diverged, "usage": UsageError}
        what, where, why, fix = self.error
        return kinds.get(self.kind, LocalRulesError)(what, where=where, why=why, fix=fix)


@dataclass(frozen=True)
class RunTask:
    """A run to be brought to its end. Called in whatever process; it raises nothing.

    Attributes:
        rule: The rule as the user typed it.
        config: The settings of the run.
        supplied_by: The distributions of rule, model and data set.
        fingerprint: Of the data set.
        place: Where run folders are and go, absolute.
        home: The folder in which the command was typed.
        registry: The registry, pickled: loading it imports plugins, which may fail.
        watch: Makes callbacks of the run; can be pickled.
    """

    rule: str
    config: RunConfig
    supplied_by: dict[str, str]
    fingerprint: str
    place: Path
    home: Path
    registry: bytes
    watch: MakeCallbacks

    @classmethod
    def from_planned(cls, wanted: PlannedRun, place: Path, registry: Registry, watch: MakeCallbacks) -> RunTask:
        """The work of a planned run."""
        known = (wanted.rule, wanted.config, wanted.supplied_by, wanted.fingerprint)
        return cls(*known, place.absolute(), Path.cwd(), pickle.dumps(registry), watch)

    def __call__(self) -> RunOutcome:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("default")
            outcome = self._outcome()
        said = tuple(dict.fromkeys(str(warning.message) for warning in caught))
        return RunOutcome(outcome.folder, outcome.kind, outcome.error, said)

    def _outcome(self) -> RunOutcome:
        from localrules.engine.divergence import Diverged
        from localrules.runs.execution import RunStopped

        try:
            return RunOutcome(self._run())
        except LocalRulesError as error:
            kinds = {Diverged: "diverged", RunStopped: "stopped", UsageError: "usage"}
            kind = next((word for known, word in kinds.items() if isinstance(error, known)), "failed")
            return RunOutcome(kind=kind, error=(error.what, error.where, error.why, error.fix))
        except BaseException as error:
            traceback.print_exc(file=sys.stderr)
            why = describe_exception(error)
            return RunOutcome(kind="failed", error=("the run failed on its worker", str(self.place), why, ""))

    def _run(self) -> Path:
        from localrules.comparison.plan import PlannedRun
        from localrules.comparison.run_record import bring_to_end
        from localrules.engine.resolve import resolve_config

        if not self.home.is_dir():
            raise UsageError(
                "the worker does not see the folder of the command",
                where=str(self.home),
                why="machines that execute runs share it with this one",
                fix="use a folder that all of them have",
            )
        here = Path.cwd()
        with contextlib.ExitStack() as stack:
            os.chdir(self.home)
            stack.callback(os.chdir, here)
            registry: Registry = pickle.loads(self.registry)
            run = resolve_config(self.config, registry)
            planned = PlannedRun(self.rule, run, self.supplied_by, self.fingerprint)
            return bring_to_end(planned, self.place, registry, self.watch())
