"""Experiments by name, and their runs one after the other: what is done is not done again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.compare.plan import Planned
from localrules.compare.runs import carry_out
from localrules.compare.settings import INCIDENTAL
from localrules.core.entries import ExperimentEntry
from localrules.engine.building import load_data, run_data
from localrules.engine.config import Choice
from localrules.engine.environment import supplied_by
from localrules.engine.observers import Observer
from localrules.engine.session import Session
from localrules.engine.settings import Tree, merge
from localrules.errors import LocalRulesError, UsageError
from localrules.evaluation.ferplus import read_votes
from localrules.launch import configure
from localrules.reproduce.budget import Budget
from localrules.reproduce.evaluation import show_evaluation
from localrules.reproduce.exhibition import Exhibition
from localrules.reproduce.experiment import Experiment, Row
from localrules.reproduce.outcome import Outcome, judged_on, measured, scored

if TYPE_CHECKING:
    from localrules.data.dataset import DataSet
    from localrules.plugins import Registry

RUNS = "runs"
ALL, REBUILT = "all", "paper"
"""The word for everything: the suite of the paper that this project rebuilds."""


@dataclass(frozen=True)
class Asked:
    """What a user asks for.

    Attributes:
        scale: The fraction of each row's published budget.
        seeds: How many runs of each row, with seeds from 0; ``None``: the row's own.
        rows: Only rows whose name fits this pattern, whatever the case of its letters; with another pattern than ``*``
            an experiment without rows is left out.
        below: Settings for what rows leave open: ``model`` and ``data``.
        over: Settings that replace the rows' own.
        typed: ``below`` and ``over`` as a user typed them, but for names; where there are any, no run is as published.
        incidental: Settings that change no result, such as threads and trackers.
        data_path: The file of a row's data set, or a folder in which it lies under the data set's name.
        ferplus: FER+'s votes, to be set beside what networks say of FER2013.
    """

    scale: float = 1.0
    seeds: int | None = None
    rows: str = "*"
    below: Tree = field(default_factory=dict)
    over: Tree = field(default_factory=dict)
    typed: tuple[str, ...] = ()
    incidental: Tree = field(default_factory=dict)
    data_path: Path | None = None
    ferplus: Path | None = None


def chosen(name: str, registry: Registry) -> dict[str, Experiment]:
    """The experiments that a name means: one, all of a suite, or, for ``all``, those of the paper that we rebuild.

    Raises:
        UsageError: There is no experiment and no suite of that name.
        LocalRulesError: One cannot be used.
    """
    usable = [item.entry for item in registry.entries("experiment") if item.status == "ok"]
    wanted = REBUILT if name == ALL else name
    suite = [entry.name for entry in usable if isinstance(entry, ExperimentEntry) and entry.suite == wanted]
    return {one: _made(one, registry) for one in suite or [name]}


def _made(name: str, registry: Registry) -> Experiment:
    made = registry.resolve("experiment", name)()
    if not isinstance(made, Experiment):
        raise LocalRulesError(
            f"experiment {name!r} cannot be used",
            where=registry.find("experiment", name).entry.target,
            why=f"it returned an object of type {type(made).__name__}",
            fix="its author returns a localrules.reproduce.experiment.Experiment",
        )
    return made


@dataclass(frozen=True)
class Task:
    """A row that is to be run.

    Attributes:
        experiment: The experiment's name.
        row: The row.
        budget: How long each of its runs is.
        planned: Its runs.
        data: Its data set.
        changed: What the user typed in place of the row's own settings.
        claim: What the experiment's source claims.
        ferplus: FER+'s votes on the data set.
    """

    experiment: str
    row: Row
    budget: Budget
    planned: tuple[Planned, ...]
    data: DataSet
    changed: str = ""
    claim: str = ""
    ferplus: Path | None = None


def plan(experiments: dict[str, Experiment], asked: Asked, registry: Registry) -> list[Task]:
    """Every row that is asked for, configured and built once: what cannot run is known before anything has run.

    Raises:
        UsageError: No row fits, a row needs something that is not there, or ``below`` fills nothing.
        DataError: A data set cannot be read, or lacks the split that a row is scored on.
    """
    rows = [(name, row) for name, experiment in experiments.items() for row in fitting(experiment, asked)]
    _refuse(experiments, [row for _, row in rows], asked)
    known: dict[str, DataSet] = {}
    tasks = [_task(name, row, experiments[name].claim, asked, registry, known) for name, row in rows]
    for task in {task.planned[0].config.model_dump_json(): task for task in tasks}.values():
        Session.build(task.planned[0].config, registry, task.data)
    return tasks


def fitting(experiment: Experiment, asked: Asked) -> list[Row]:
    """The rows of an experiment that are asked for."""
    return [row for row in experiment.rows if fnmatchcase(row.name.lower(), asked.rows.lower())]


def left_open(experiments: dict[str, Experiment]) -> set[str]:
    """Which of ``data`` and ``model`` some experiment leaves to the user; one without rows looks at any data."""
    rows = [row for experiment in experiments.values() for row in experiment.rows]
    found = {kind for row in rows for kind in ("data", "model") if kind not in _fixed(row)}
    return found | ({"data"} if any(not experiment.rows for experiment in experiments.values()) else set())


def _fixed(row: Row) -> list[str]:
    """Which of ``data`` and ``model`` a row names itself."""
    return [kind for kind in ("data", "model") if "name" in row.settings.get(kind, {})]


def carried_out(
    tasks: list[Task],
    folder: Path,
    registry: Registry,
    watchers: Callable[[], list[Observer]] = list,
    say: Callable[[str], Any] = lambda line: None,
) -> Iterator[Outcome]:
    """Run the rows one after the other; yields each as soon as its runs are done.

    Args:
        tasks: From :func:`plan`.
        folder: Run folders go into its ``runs/``. A finished run is not repeated, an interrupted one goes on.
        registry: Where names are looked up.
        watchers: Makes those who watch a run.
        say: Told in a line what happens next.
    """
    for number, task in enumerate(tasks, 1):
        say(f"row {number} of {len(tasks)}: {task.experiment}, {task.row.name}, {task.budget}")
        runs, _ = carry_out(task.planned, folder / RUNS, registry, watchers, say)
        scores = tuple(scored(run, task.row, task.data, registry, task.ferplus) for run in runs)
        values = tuple(measured(run, task.row, found) for run, found in zip(runs, scores, strict=True))
        config = task.planned[0].config
        on = {"model": config.model.name, "data": config.data.name}
        yield Outcome(task.experiment, task.row, task.budget, tuple(runs), values, on, task.changed, task.claim, scores)


def exhibit(
    name: str, experiment: Experiment, outcomes: list[Outcome], data: DataSet, folder: Path, registry: Registry
) -> None:
    """Have an experiment show what its rows came to, and set beside it all that an evaluation says of them.

    Args:
        name: The experiment's.
        experiment: What it is.
        outcomes: Its rows, done; none, of an experiment without.
        data: Its data set.
        folder: The ``--out``.
        registry: Where names are looked up.
    """
    exhibition = Exhibition(folder / name, outcomes, data, registry)
    if experiment.show is not None:
        experiment.show(exhibition)
    show_evaluation(exhibition)
    exhibition.close()


def data_asked_for(asked: Asked, registry: Registry) -> DataSet:
    """The data set that experiments without rows look at."""
    return load_data(Choice(**found_at(asked.data_path, asked.below["data"], registry)), registry)


def _refuse(experiments: dict[str, Experiment], rows: list[Row], asked: Asked) -> None:
    names = [row.name for experiment in experiments.values() for row in experiment.rows]
    if not rows and (names or asked.rows != "*"):
        raise UsageError(
            f"no row fits {asked.rows!r}",
            where="--rows",
            why=f"the rows are: {'; '.join(dict.fromkeys(names)) or 'none, since it trains nothing'}",
            fix="a * stands for anything: --rows 'mnist*'",
        )
    for name in ("data", "model"):
        # What trains nothing takes the same words as its neighbours, so that one line serves for all of a suite.
        if rows and name in asked.below and name not in left_open(experiments):
            raise UsageError(
                f"--{name} changes nothing here",
                where=f"--{name} {asked.below[name].get('name', '')}".strip(),
                why=f"each row says on which {name} its figure was published",
                fix="leave it out",
            )


def _task(name: str, row: Row, claim: str, asked: Asked, registry: Registry, known: dict[str, DataSet]) -> Task:
    budget = Budget.of(row.name, row.settings, asked.scale)
    below = {kind: value for kind, value in asked.below.items() if kind not in _fixed(row)}
    settings = merge(merge(merge(below, row.settings), asked.over), asked.incidental)
    settings = merge(settings, {budget.unit: budget.length})
    settings["data"] = found_at(asked.data_path, settings["data"], registry)
    seeds = row.seeds if asked.seeds is None else tuple(range(asked.seeds))
    config = configure(settings, registry)
    same = f"{config.data.model_dump_json()}, {config.hold_out} held out"
    if same not in known:
        known[same] = run_data(config, registry)
    data = known[same]
    data.split(judged_on(row, data))  # says why there is none
    if asked.ferplus is not None:
        read_votes(asked.ferplus, data, judged_on(row, data))  # says in time what does not fit
    suppliers = supplied_by(config, registry)
    planned = tuple(
        Planned(row.name, config.model_copy(update={"seed": seed}), suppliers, data.fingerprint) for seed in seeds
    )
    return Task(name, row, budget, planned, data, _changed(row, asked), claim, asked.ferplus)


def _changed(row: Row, asked: Asked) -> str:
    """What was typed and bears on a row: options of a model or a data set only where the row leaves it open."""
    idle = (*_fixed(row), *INCIDENTAL, "device", "threads")
    return ", ".join(word for word in asked.typed if re.split("[.=]", word)[0] not in idle)


def found_at(path: Path | None, data: Tree, registry: Registry) -> Tree:
    """A data set's settings with the place where it lies, if it is read from a file; see :func:`located`."""
    if path is None or "path" not in registry.resolve("data", data["name"]).Config.model_fields:
        return data
    return merge(data, {"path": str(located(path, data["name"]))})


def located(path: Path, name: str) -> Path:
    """Where a data set lies.

    Args:
        path: A file, which it is; or a folder: there it is what is called like the data set, whatever the ending, else
            the folder itself.
        name: The data set's.
    """
    inside = [path / name, *sorted(path.glob(f"{name}.*"))] if path.is_dir() else []
    return next((place for place in inside if place.exists()), path)
