"""Rows one after the other: what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.compare.runs import Run, carry_out, done
from localrules.engine.observers import Observer
from localrules.errors import LocalRulesError
from localrules.finished import FinishedRun
from localrules.reproduce.evaluation import show_evaluation
from localrules.reproduce.exhibition import Exhibition
from localrules.reproduce.experiment import Experiment
from localrules.reproduce.outcome import Outcome, measured, scored
from localrules.reproduce.planning import Task

if TYPE_CHECKING:
    from localrules.data.dataset import DataSet
    from localrules.plugins import Registry

RUNS = "runs"


def carried_out(
    tasks: list[Task],
    folder: Path,
    registry: Registry,
    watchers: Callable[[], list[Observer]] = list,
    say: Callable[[str], Any] = lambda line: None,
) -> Iterator[Outcome]:
    """Run the rows one after the other; yields each as soon as its runs are done.

    Args:
        tasks: From :func:`~localrules.reproduce.planning.plan`.
        folder: Run folders go into its ``runs/``. A finished run is not repeated, an interrupted one goes on.
        registry: Where names are looked up.
        watchers: Makes those who watch a run.
        say: Told in a line what happens next.
    """
    for number, task in enumerate(tasks, 1):
        which = f"row {number} of {len(tasks)}: {task.experiment}, {task.row.name}, {task.budget}"
        if task.data is None or task.missing is not None:
            left_out = replace(_outcome(task), missing=task.missing)
            say(f"{which}, is left out: {left_out.wants}")
            yield left_out
            continue
        say(which)
        runs, _ = carry_out(task.planned, folder / RUNS, registry, watchers, say)
        finished = {run.config.seed for run in runs}
        diverged = tuple(seed for one in task.planned if (seed := one.config.seed) not in finished)
        yield replace(_came_to(task, task.data, runs, registry), diverged=diverged)


def done_before(tasks: list[Task], folder: Path, registry: Registry) -> list[Outcome]:
    """What rows came to that are done, of the runs that are; nothing is run.

    Args:
        tasks: Rows, configured.
        folder: As for :func:`carried_out`.
        registry: Where names are looked up.
    """
    outcomes = []
    for task in tasks:
        runs = done(task.planned, folder / RUNS)
        if not runs or task.data is None:
            continue
        with suppress(LocalRulesError):  # such as a package that is no longer installed: then it cannot be shown
            FinishedRun.load(runs[0].folder, registry)
            outcomes.append(_came_to(task, task.data, runs, registry))
    return outcomes


def _came_to(task: Task, data: DataSet, runs: list[Run], registry: Registry) -> Outcome:
    scores = tuple(scored(run, task.row, data, registry, task.ferplus) for run in runs)
    values = tuple(measured(run, task.row, found) for run, found in zip(runs, scores, strict=True))
    return replace(_outcome(task), runs=tuple(runs), values=values, scores=scores)


def _outcome(task: Task) -> Outcome:
    return Outcome(task.experiment, task.row, task.budget, (), (), task.on, task.changed, task.claim)


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
