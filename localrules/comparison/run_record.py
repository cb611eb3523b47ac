"""Runs that are wanted, beside those in a folder: found where they are done, gone on with where they stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.callbacks.base import Callback
from localrules.comparison.plan import PlannedRun
from localrules.config.diff import identity_settings
from localrules.config.overrides import RUN_METADATA, Tree
from localrules.config.schema import RunConfig
from localrules.errors import UsageError
from localrules.runs.load import read_run
from localrules.runs.result import Summary, completed_summary
from localrules.runs.resume import resume
from localrules.runs.train import start
from localrules.tracking.records import CONFIG, read_config
from localrules.utils.text import shell_quote

if TYPE_CHECKING:
    from localrules.registry.registry import Registry


@dataclass(frozen=True)
class RunRecord:
    """A finished run.

    Attributes:
        rule: The rule as a user would type it.
        folder: The run folder.
        config: What it was asked to do; data that have been moved since are named where they were found.
        record: Its whole ``config.toml``, which also says what it ran on.
        summary: What it came to.
        registry: Where its names are looked up, if not where those of the comparison are.
    """

    rule: str
    folder: Path
    config: RunConfig
    record: Tree
    summary: Summary
    registry: Registry | None = None

    @property
    def settings(self) -> Tree:
        """Its settings, as in ``config.toml``, with the defaults of those that its version may not have had."""
        return _settings_of(self.record)


def read_run_record(folder: Path, rule: str = "", registry: Registry | None = None) -> RunRecord:
    """A finished run from its folder.

    Args:
        folder: The run folder.
        rule: The rule as the user typed it, where that is known.
        registry: That of the run, if it has one of its own.

    Raises:
        UsageError: It is not a run folder, or the run is not done.
    """
    folder = folder.expanduser().resolve()
    config, record = read_run(folder)
    summary = completed_summary(folder)
    if summary is None:
        raise UsageError(
            "the run is not finished",
            where=str(folder),
            why="accuracies are those of the last weights, which it does not have yet",
            fix=f"localrules run --resume {shell_quote(folder)}",
        )
    return RunRecord(rule or config.rule.label, folder, config, record, summary, registry)


def bring_to_end(wanted: PlannedRun, place: Path, registry: Registry, callbacks: Sequence[Callback] = ()) -> Path:
    """Execute a run in this process. One that is finished is not repeated, one that was interrupted goes on.

    Args:
        wanted: The run.
        place: Where run folders are and go.
        registry: Where names are looked up.
        callbacks: Of the run.

    Returns:
        Its folder.

    Raises:
        Diverged: It has left the finite numbers.
        LocalRulesError: It failed, or was stopped.
    """
    folder = find_existing(wanted, place)
    if folder is None:
        return start(wanted.run, registry, place, callbacks).directory
    if not completed_summary(folder):
        resume(folder, callbacks=callbacks, plugins=registry)
    return folder


def completed_runs(planned: Sequence[PlannedRun], place: Path) -> list[RunRecord]:
    """Those of the planned runs that are done already; nothing is run.

    Args:
        planned: From :func:`~localrules.comparison.plan.plan`.
        place: Where run folders are.
    """
    found = [(find_existing(wanted, place), wanted) for wanted in planned]
    done = [(folder, wanted) for folder, wanted in found if folder is not None and completed_summary(folder)]
    return [read_planned(folder, wanted) for folder, wanted in done]


def find_existing(wanted: PlannedRun, place: Path) -> Path | None:
    """The folder of a run that is this one: done, with settings, data and suppliers that give the same result.

    One that is not done must be this one to the letter but for its tags, since it goes on as it was started.
    """
    asked = wanted.config.to_dict()
    over, stopped = [], []
    for folder in sorted(path.parent for path in place.glob(f"*/{CONFIG}")):
        if folder.name.startswith("."):  # another process is making it
            continue
        record = read_config(folder)
        if (
            record["seed"] != asked["seed"]
            or record["trained_on"]["fingerprint"] != wanted.fingerprint
            or record["environment"]["supplied_by"] != wanted.supplied_by
        ):
            continue
        settings = _settings_of(record)
        if identity_settings(settings) != identity_settings(asked):
            continue
        if completed_summary(folder):
            over.append((settings != asked, folder))
        elif _untagged(settings) == _untagged(asked):
            stopped.append(folder)
    return min(over)[1] if over else next(reversed(stopped), None)


def _settings_of(record: Tree) -> Tree:
    return RunConfig.complete({key: value for key, value in record.items() if key not in RUN_METADATA})


def _untagged(settings: Tree) -> Tree:
    """Settings without the words by which a tracker finds a run: another experiment that needs it would have others."""
    trackers = settings.get("trackers", {})
    without = {name: {key: value for key, value in own.items() if key != "tags"} for name, own in trackers.items()}
    return {**settings, "trackers": without}


def read_planned(folder: Path, wanted: PlannedRun) -> RunRecord:
    """A planned run that is done, with its data where they lie today."""
    run = read_run_record(folder, wanted.rule)
    return replace(run, config=run.config.model_copy(update={"data": wanted.config.data}))
