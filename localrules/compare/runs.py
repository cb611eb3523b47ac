"""The runs of a comparison: found where they are done, gone on with where they stopped, started where they are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.compare.plan import Planned
from localrules.compare.settings import decisive
from localrules.engine import mixing
from localrules.engine.config import RunConfig
from localrules.engine.divergence import Diverged
from localrules.engine.observers import Observer
from localrules.engine.settings import RECORDED, Tree
from localrules.errors import LocalRulesError, UsageError
from localrules.finished import read_run
from localrules.launch import Summary, finished, plain, resume, start
from localrules.tracking.records import CONFIG, read_config

if TYPE_CHECKING:
    from localrules.plugins import Registry


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        rule: The rule as a user would type it.
        folder: The run folder.
        config: What it was asked to do; data that have been moved since are named where they were found.
        record: Its whole ``config.toml``, which also says what it ran on.
        summary: What it came to.
    """

    rule: str
    folder: Path
    config: RunConfig
    record: Tree
    summary: Summary

    @property
    def settings(self) -> Tree:
        """What it was asked to do, as ``config.toml`` has it."""
        return {key: value for key, value in self.record.items() if key not in RECORDED}


def read(folder: Path, rule: str = "") -> Run:
    """A finished run from its folder.

    Args:
        folder: The run folder.
        rule: The rule as the user typed it, where that is known.

    Raises:
        UsageError: It is no run folder, or the run is not done.
    """
    folder = folder.expanduser().resolve()
    config, record = read_run(folder)
    summary = finished(folder)
    if summary is None:
        raise UsageError(
            "the run is not finished",
            where=str(folder),
            why="accuracies are those of the last weights, which it does not have yet",
            fix=f"localrules run --resume {folder}",
        )
    return Run(rule or _typed(config), folder, config, record, summary)


def carry_out(
    planned: Sequence[Planned],
    place: Path,
    registry: Registry,
    watchers: Callable[[], list[Observer]] = list,
    say: Callable[[str], Any] = lambda line: None,
) -> tuple[list[Run], list[str]]:
    """Bring every planned run to its end. A finished one is not repeated, an interrupted one goes on.

    Trackers, logging and the place of the data make no other run of a finished one.

    Args:
        planned: From :func:`~localrules.compare.plan.plan`.
        place: Where run folders are and go.
        registry: Where names are looked up.
        watchers: Makes those who watch a run.
        say: Told in a line what happens next.

    Returns:
        The finished runs; and a line for each run that diverged, which is no reason not to compare the others.
    """
    runs, diverged = [], []
    for number, wanted in enumerate(planned, 1):
        folder = _known(wanted, place)
        which = f"run {number} of {len(planned)}: {wanted.rule}, seed {wanted.config.seed}"
        try:
            if folder is not None and finished(folder):
                say(f"{which}, done before")
            elif folder is not None:
                say(f"{which}, goes on")
                resume(folder, registry, {}, watchers())
            else:
                say(which)
                folder = Path(start(wanted.config, registry, place, watchers())["run_dir"])
        except Diverged as error:
            diverged.append(f"{wanted.rule} with seed {wanted.config.seed} is left out: {error.what}")
            say(diverged[-1])
            continue
        except LocalRulesError as error:
            if error.exit_code == 1:  # stopped by the user, or by something that may not last
                error.fix = f"{error.fix}; or repeat the comparison, which goes on where it stopped".removeprefix(
                    "; or "
                )
            raise
        runs.append(_read(folder, wanted))
    return runs, diverged


def done(planned: Sequence[Planned], place: Path) -> list[Run]:
    """Those of the planned runs that are done already; nothing is run.

    Args:
        planned: From :func:`~localrules.compare.plan.plan`.
        place: Where run folders are.
    """
    found = [(_known(wanted, place), wanted) for wanted in planned]
    return [_read(folder, wanted) for folder, wanted in found if folder is not None and finished(folder)]


def _known(wanted: Planned, place: Path) -> Path | None:
    """The folder of a run that is this one: done, with settings, data and suppliers that give the same result.

    One that is not done must be this one to the letter but for its tags, since it goes on as it was started.
    """
    asked = plain(wanted.config)
    over, stopped = [], []
    for folder in sorted(path.parent for path in place.glob(f"*/{CONFIG}")):
        record = read_config(folder)
        settings = {key: value for key, value in record.items() if key not in RECORDED}
        if (
            settings["seed"] != asked["seed"]
            or decisive(settings) != decisive(asked)
            or record["trained_on"]["fingerprint"] != wanted.fingerprint
            or record["environment"]["supplied_by"] != wanted.supplied_by
        ):
            continue
        if finished(folder):
            over.append((settings != asked, folder))
        elif _untagged(settings) == _untagged(asked):
            stopped.append(folder)
    return min(over)[1] if over else next(reversed(stopped), None)


def _untagged(settings: Tree) -> Tree:
    """Settings without the words by which a tracker finds a run: another experiment that needs it would have others."""
    trackers = settings.get("trackers", {})
    without = {name: {key: value for key, value in own.items() if key != "tags"} for name, own in trackers.items()}
    return {**settings, "trackers": without}


def _read(folder: Path, wanted: Planned) -> Run:
    """A planned run that is done, with its data where they lie today."""
    run = read(folder, wanted.rule)
    return replace(run, config=run.config.model_copy(update={"data": wanted.config.data}))


def _typed(config: RunConfig) -> str:
    """A rule as a user would type it; the parts of a mixture with their patterns."""
    parts = mixing.choices(config.rule)
    if config.rule.name != mixing.MIXED:
        return config.rule.name
    return ",".join(f"{pattern}={part.name}" for pattern, part in parts)
