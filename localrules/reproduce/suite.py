"""Experiments by name, and their runs one after the other: what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.compare.plan import Planned
from localrules.compare.runs import carry_out
from localrules.core.entries import ExperimentEntry
from localrules.engine.building import load_data
from localrules.engine.environment import supplied_by
from localrules.engine.observers import Observer
from localrules.engine.settings import Tree, merge
from localrules.errors import LocalRulesError, UsageError
from localrules.launch import configure
from localrules.reproduce.budget import Budget
from localrules.reproduce.experiment import Experiment, Row
from localrules.reproduce.outcome import Outcome, measured

if TYPE_CHECKING:
    from localrules.data.dataset import DataSet
    from localrules.plugins import Registry

RUNS = "runs"


@dataclass(frozen=True)
class Asked:
    """What a user asks for.

    Attributes:
        scale: The fraction of each row's published budget.
        seeds: How many runs of each row, with seeds from 0; ``None``: the row's own.
        rows: Only rows whose name fits this pattern, whatever the case of its letters.
        below: Settings for what rows leave open.
        data_path: The file of a row's data set, or a folder in which it lies under the data set's name.
    """

    scale: float = 1.0
    seeds: int | None = None
    rows: str = "*"
    below: Tree = field(default_factory=dict)
    data_path: Path | None = None


def chosen(name: str, registry: Registry) -> dict[str, Experiment]:
    """The experiments that a name means: one, or all of a suite, by name.

    Raises:
        UsageError: There is no experiment and no suite of that name.
        LocalRulesError: One cannot be used.
    """
    usable = [item.entry for item in registry.entries("experiment") if item.status == "ok"]
    suite = [entry.name for entry in usable if isinstance(entry, ExperimentEntry) and entry.suite == name]
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
    """

    experiment: str
    row: Row
    budget: Budget
    planned: tuple[Planned, ...]
    data: DataSet


def plan(experiments: dict[str, Experiment], asked: Asked, registry: Registry) -> list[Task]:
    """Every row that is asked for, configured: what cannot run is known before anything has run.

    Raises:
        UsageError: No row fits, a row needs something that is not there, or ``below`` fills nothing.
    """
    rows = [
        (name, row)
        for name, experiment in experiments.items()
        for row in experiment.rows
        if fnmatchcase(row.name.lower(), asked.rows.lower())
    ]
    _refuse(experiments, [row for _, row in rows], asked)
    known: dict[str, DataSet] = {}
    return [_task(name, row, asked, registry, known) for name, row in rows]


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
        values = tuple(measured(run, task.row, task.data, registry) for run in runs)
        yield Outcome(task.experiment, task.row, task.budget, tuple(runs), values)


def _refuse(experiments: dict[str, Experiment], rows: list[Row], asked: Asked) -> None:
    if not rows:
        names = [row.name for experiment in experiments.values() for row in experiment.rows]
        raise UsageError(
            f"no row fits {asked.rows!r}",
            where="--rows",
            why=f"the rows are: {'; '.join(names)}",
            fix="a * stands for anything: --rows 'mnist*'",
        )
    for name in ("data", "model"):
        if name in asked.below and all(name in row.settings for row in rows):
            raise UsageError(
                f"--{name} changes nothing here",
                where=f"--{name} {asked.below[name]['name']}",
                why=f"each row says on which {name} its figure was published",
                fix="leave it out",
            )


def _task(name: str, row: Row, asked: Asked, registry: Registry, known: dict[str, DataSet]) -> Task:
    budget = Budget.of(row.name, row.settings, asked.scale)
    settings = merge(merge(asked.below, row.settings), {budget.unit: budget.length})
    if "data" not in settings:
        raise UsageError(
            f"row {row.name!r} runs on any data set", where=name, why="none is named", fix="name one: --data faces"
        )
    path = asked.data_path and located(asked.data_path, settings["data"]["name"])
    if path and "path" in registry.resolve("data", settings["data"]["name"]).Config.model_fields:
        settings = merge(settings, {"data": {"path": str(path)}})
    seeds = row.seeds if asked.seeds is None else tuple(range(asked.seeds))
    config = configure(settings, registry)
    data = known.setdefault(config.data.model_dump_json(), load_data(config.data, registry))
    suppliers = supplied_by(config, registry)
    planned = tuple(
        Planned(row.name, config.model_copy(update={"seed": seed}), suppliers, data.fingerprint) for seed in seeds
    )
    return Task(name, row, budget, planned, data)


def located(path: Path, name: str) -> Path:
    """Where a data set lies.

    Args:
        path: A file, which it is; or a folder: there it is what is called like the data set, whatever the ending, else
            the folder itself.
        name: The data set's.
    """
    inside = [path / name, *sorted(path.glob(f"{name}.*"))] if path.is_dir() else []
    return next((place for place in inside if place.exists()), path)
