"""Cases one after the other: what is done is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.callbacks.base import Callback
from localrules.comparison.execute import RunPool
from localrules.comparison.run_record import RunRecord, completed_runs
from localrules.errors import LocalRulesError
from localrules.reproduce import report
from localrules.reproduce.artifacts import ArtifactWriter
from localrules.reproduce.plan import PlannedCase, excluded_cases, find_dataset_settings, plan_cases
from localrules.reproduce.registry import experiments_in
from localrules.reproduce.report import write_evaluation
from localrules.reproduce.result import (
    CaseResult,
    as_document,
    evaluation_split,
    load_or_evaluate,
    metric_value,
    upsert,
)
from localrules.reproduce.spec import Experiment
from localrules.runs.executor import Executor
from localrules.runs.load import TrainedRun
from localrules.utils.plugin_border import plugin_border

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset
    from localrules.registry.registry import Registry
    from localrules.reproduce.request import ReproductionRequest

RUNS = "runs"


def run_cases(
    tasks: list[PlannedCase],
    pool: RunPool,
    registry: Registry,
    say: Callable[[str], Any] = lambda line: None,
) -> Iterator[CaseResult]:
    """Run the cases; yields them one after the other, each as soon as its runs are done.

    Args:
        tasks: From :func:`~localrules.reproduce.plan.plan_cases`.
        pool: Executes their runs.
        registry: Where names are looked up.
        say: Called with a line on what happens next.
    """
    for number, task in enumerate(tasks, 1):
        which = f"case {number} of {len(tasks)}: {task.experiment}, {task.case.name}, {task.budget}"
        if task.data is None or task.missing is not None:
            left_out = replace(_missing_result(task), missing=task.missing)
            say(f"{which}, is left out: {left_out.install_hint}")
            yield left_out
            continue
        say(which)
        runs, _ = pool.run_all(task.planned)
        finished = {run.config.seed for run in runs}
        diverged = tuple(seed for one in task.planned if (seed := one.config.seed) not in finished)
        yield replace(_result(task, task.data, runs, registry), diverged=diverged)


def _submit_all(tasks: list[PlannedCase], pool: RunPool) -> None:
    """Let all workers be busy, whichever case is waited for."""
    for task in tasks:
        if task.data is not None and task.missing is None:
            for one in task.planned:
                pool.submit(one, f"{task.experiment}, {task.case.name}, seed {one.config.seed}")


def completed_results(tasks: list[PlannedCase], folder: Path, registry: Registry) -> list[CaseResult]:
    """Results of the finished runs of cases; nothing is run.

    Args:
        tasks: Cases, configured.
        folder: The ``--out``; run folders are in its ``runs/``.
        registry: Where names are looked up.
    """
    outcomes = []
    for task in tasks:
        runs = completed_runs(task.planned, folder / RUNS)
        if not runs or task.data is None:
            continue
        with suppress(LocalRulesError):  # such as a package that is no longer installed: then it cannot be shown
            TrainedRun.load(runs[0].folder, registry)
            outcomes.append(_result(task, task.data, runs, registry))
    return outcomes


def _result(task: PlannedCase, data: Dataset, runs: list[RunRecord], registry: Registry) -> CaseResult:
    split = evaluation_split(data, task.case.metric)
    scores = tuple(load_or_evaluate(run, split, data, registry, task.metrics) for run in runs)
    values = tuple(metric_value(run, task.case, found) for run, found in zip(runs, scores, strict=True))
    return replace(_missing_result(task), runs=tuple(runs), values=values, scores=scores)


def _missing_result(task: PlannedCase) -> CaseResult:
    return CaseResult(task.experiment, task.case, task.budget, (), (), task.on, task.changed, task.claim)


def write_report(
    name: str, experiment: Experiment, outcomes: list[CaseResult], data: Dataset, folder: Path, registry: Registry
) -> None:
    """Have an experiment show what its cases came to, and set beside it all that an evaluation says of them.

    Args:
        name: The experiment's.
        experiment: What it is.
        outcomes: Its cases, done; none, of an experiment without.
        data: Its data set.
        folder: The ``--out``.
        registry: Where names are looked up.
    """
    artifacts = ArtifactWriter(folder / name, outcomes, data, registry)
    if experiment.report is not None:
        with plugin_border(experiment.report, ""):
            experiment.report(artifacts)
    write_evaluation(artifacts)
    artifacts.close()


def run_experiments(
    experiments: dict[str, Experiment],
    asked: ReproductionRequest,
    out: Path,
    registry: Registry,
    command: str,
    *,
    callbacks: Callable[[], list[Callback]] = list,
    say: Callable[[str], Any] = lambda line: None,
    done: Callable[[CaseResult], Any] = lambda outcome: None,
    executor: Executor | None = None,
) -> tuple[list[CaseResult], list[dict[str, Any]]]:
    """Run experiments, and write their tables, their images and the page.

    Args:
        experiments: By name.
        asked: What of them; its ``defaults`` have all that they leave open.
        out: Where everything goes.
        registry: Where names are looked up.
        command: The line that was typed, for the page.
        callbacks: Makes the callbacks of a run in this process.
        say: Called with a line on what happens next.
        done: Called with each case when its runs are done.
        executor: Where runs execute; without one in this process, one after the other.

    Returns:
        What the cases came to; and what ``--json`` prints, which has a line for an experiment without cases, too.

    Raises:
        LocalRulesError: Something cannot be run, before anything has run; see
            :func:`~localrules.reproduce.plan.plan_cases`.
    """
    tasks = plan_cases(experiments, asked, registry)
    outcomes: list[CaseResult] = []
    documents: list[dict[str, Any]] = []
    with RunPool(out / RUNS, registry, callbacks, say, executor) as pool:
        if executor is not None:
            _submit_all(tasks, pool)
        for name, experiment in experiments.items():
            own: list[CaseResult] = []
            mine = [task for task in tasks if task.experiment == name]
            for outcome in run_cases(mine, pool, registry, say):
                own.append(outcome)
                done(outcome)
                upsert(outcome, out)
                report.write_page(out, experiments_in(out, registry), command)
            data = next((task.data for task in mine if task.data is not None), None)
            if not experiment.cases and asked.selects_all:
                data = find_dataset_settings(asked, registry)
                documents.append(as_document(name, experiment.claim))
            if data is not None:
                # What an earlier command made of the other cases stays beside these.
                aside = completed_results(excluded_cases(name, experiment, asked, registry), out, registry)
                place = {case.name: number for number, case in enumerate(experiment.cases)}
                shown = sorted([*own, *aside], key=lambda outcome: place[outcome.case.name])
                write_report(name, experiment, shown, data, out, registry)
                report.write_page(out, experiments_in(out, registry), command)
            outcomes += own
            documents += [line for outcome in own for line in outcome.documents()]
    return outcomes, documents
