"""What a reproduction will run: rows configured and built, so that what cannot run is known before anything has run."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.comparison.plan import PlannedRun
from localrules.config.diff import INCIDENTAL
from localrules.config.settings import Settings, merge_settings
from localrules.engine.builder import load_dataset, load_run_dataset
from localrules.engine.environment import providers
from localrules.engine.resolve import resolve_component, resolve_run
from localrules.engine.session import Session
from localrules.errors import LocalRulesError, MissingDependencyError, UsageError
from localrules.evaluation.metric import MetricFiles, build_metrics
from localrules.reproduce.request import ReproductionRequest
from localrules.reproduce.result import evaluation_split
from localrules.reproduce.spec import Budget, Case, Experiment

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset
    from localrules.registry.registry import Registry

TAGGED = "wandb"  # the tracker whose runs are found by tags


@dataclass(frozen=True)
class PlannedCase:
    """A row that is to be run.

    Attributes:
        experiment: The experiment's name.
        row: The row.
        budget: How long each of its runs is.
        on: The names of its ``model`` and ``data``.
        planned: Its runs; none of a row that is left out.
        data: Its data set; ``None`` where that cannot be read for want of a package.
        changed: What the user typed in place of the row's own settings.
        claim: What the experiment's source claims.
        metrics: The files of plugins' metrics to compute, by name.
        missing: The package for want of which it is left out.
    """

    experiment: str
    case: Case
    budget: Budget
    on: dict[str, str]
    planned: tuple[PlannedRun, ...] = ()
    data: Dataset | None = None
    changed: str = ""
    claim: str = ""
    metrics: MetricFiles = field(default_factory=dict)
    missing: MissingDependencyError | None = None


def plan_cases(experiments: dict[str, Experiment], asked: ReproductionRequest, registry: Registry) -> list[PlannedCase]:
    """Every row that is asked for, configured and built once: what cannot run is known before anything has run.

    A row that needs a package which is not installed is left out, if another remains.

    Raises:
        UsageError: No row fits, a row needs something that is not there, or ``below`` fills nothing.
        DataError: A data set cannot be read, or lacks the split that a row is scored on.
        MissingDependencyError: No row remains.
    """
    rows = [(name, row) for name, experiment in experiments.items() for row in matching_cases(experiment, asked)]
    _check_data(experiments, [row for _, row in rows], asked)
    data: dict[str, Dataset] = {}
    tasks = [_plan_case(name, row, experiments[name].claim, asked, registry, data) for name, row in rows]
    built: dict[str, MissingDependencyError | None] = {}
    tasks = [_built(task, built) for task in tasks]
    missing = [task.missing for task in tasks if task.missing is not None]
    if missing and len(missing) == len(tasks):
        raise missing[0]
    return _tag(tasks)


def excluded_cases(
    name: str, experiment: Experiment, asked: ReproductionRequest, registry: Registry
) -> list[PlannedCase]:
    """The rows that a pattern leaves aside, configured like the others: one that cannot be has not been run, either."""
    chosen = {row.name for row in matching_cases(experiment, asked)}
    data: dict[str, Dataset] = {}
    tasks = []
    for row in (row for row in experiment.cases if row.name not in chosen):
        with suppress(LocalRulesError):
            tasks.append(_plan_case(name, row, experiment.claim, asked, registry, data))
    return tasks


def _tag(tasks: list[PlannedCase]) -> list[PlannedCase]:
    """The same, where runs go to W&B with the names of all the experiments that each run serves as its tags."""
    names: dict[str, list[str]] = {}
    for task in tasks:
        for run in task.planned:
            names.setdefault(run.config.model_dump_json(), []).append(task.experiment)

    def tagged(run: PlannedRun) -> PlannedRun:
        trackers = run.config.trackers
        if TAGGED not in trackers:
            return run
        tags = sorted({*trackers[TAGGED].get("tags", ()), *names[run.config.model_dump_json()]})
        return replace(run, run=run.run.with_tracker_options(TAGGED, tags=tags))

    return [replace(task, planned=tuple(tagged(run) for run in task.planned)) for task in tasks]


def matching_cases(experiment: Experiment, asked: ReproductionRequest) -> list[Case]:
    """The rows of an experiment that are asked for."""
    return [row for row in experiment.cases if fnmatchcase(row.name.lower(), asked.cases.lower())]


def unspecified_components(experiments: dict[str, Experiment]) -> set[str]:
    """Which of ``data`` and ``model`` some experiment leaves to the user; one without rows looks at any data."""
    rows = [row for experiment in experiments.values() for row in experiment.cases]
    found = {kind for row in rows for kind in ("data", "model") if kind not in _fixed(row)}
    return found | ({"data"} if any(not experiment.cases for experiment in experiments.values()) else set())


def _fixed(row: Case) -> list[str]:
    """Which of ``data`` and ``model`` a row names itself."""
    return [kind for kind in ("data", "model") if "name" in row.settings.get(kind, {})]


def find_dataset_settings(asked: ReproductionRequest, registry: Registry) -> Dataset:
    """The data set that experiments without rows look at."""
    settings = find_dataset(asked.data_path, asked.defaults, registry)
    return load_dataset(resolve_component("data", settings.sub("data"), registry))


def _check_data(experiments: dict[str, Experiment], rows: list[Case], asked: ReproductionRequest) -> None:
    names = [row.name for experiment in experiments.values() for row in experiment.cases]
    if not rows and (names or asked.cases != "*"):
        raise UsageError(
            f"no row fits {asked.cases!r}",
            where="--rows",
            why=f"the rows are: {'; '.join(dict.fromkeys(names)) or 'none, since it trains nothing'}",
            fix="a * stands for anything: --rows 'mnist*'",
        )
    for name in ("data", "model"):
        # What trains nothing takes the same words as its neighbours, so that one line serves for all of a suite.
        if rows and name in asked.defaults.tree and name not in unspecified_components(experiments):
            raise UsageError(
                f"--{name} changes nothing here",
                where=asked.defaults.source_of(name),
                why=f"each row says on which {name} its figure was published",
                fix="leave it out",
            )


def _plan_case(
    name: str, row: Case, claim: str, asked: ReproductionRequest, registry: Registry, known: dict[str, Dataset]
) -> PlannedCase:
    budget = Budget.of(row.name, row.settings, asked.scale)
    settings = merge_settings(
        asked.defaults.without(*_fixed(row)),
        Settings.from_tree(row.settings, f"experiment {name}, case {row.name}"),
        asked.overrides,
        Settings.from_tree(asked.incidental),
        Settings.from_tree({budget.unit: budget.length}, f"--scale {asked.scale:g}"),
    )
    on = {kind: str(settings.get(kind, "name")) for kind in ("model", "data")}
    task = PlannedCase(name, row, budget, on, changed=_deviations(row, asked), claim=claim, metrics=asked.metrics)
    try:
        return _configured(task, settings, asked, registry, known)
    except MissingDependencyError as error:
        return replace(task, missing=error)


def _configured(
    task: PlannedCase, settings: Settings, asked: ReproductionRequest, registry: Registry, known: dict[str, Dataset]
) -> PlannedCase:
    row = task.case
    seeds = row.seeds if asked.seeds is None else tuple(range(asked.seeds))
    run = resolve_run(find_dataset(asked.data_path, settings, registry), registry)
    config = run.config
    assert run.data is not None
    same = f"{config.data.model_dump_json()}, {config.holdout_fraction} held out"
    if same not in known:
        known[same] = load_run_dataset(config, run.data)
    data = known[same]
    data.split(evaluation_split(row, data))  # says why there is none
    build_metrics(asked.metrics, data, evaluation_split(row, data), registry)  # says in time what does not fit
    suppliers = providers(config, registry)
    planned = tuple(PlannedRun(row.name, run.with_settings(seed=seed), suppliers, data.fingerprint) for seed in seeds)
    return replace(task, planned=planned, data=data)


def _built(task: PlannedCase, known: dict[str, MissingDependencyError | None]) -> PlannedCase:
    """The task, once its network has been built, and once for all that are of the same run."""
    if task.missing is not None:
        return task
    run = task.planned[0].run
    same = run.config.model_dump_json()
    if same not in known:
        known[same] = None
        try:
            Session.build(run, task.data)
        except MissingDependencyError as error:
            known[same] = error
    missing = known[same]
    return task if missing is None else replace(task, planned=(), missing=missing)


def _deviations(row: Case, asked: ReproductionRequest) -> str:
    """What was typed and bears on a row: options of a model or a data set only where the row leaves it open."""
    idle = (*_fixed(row), *INCIDENTAL, "device", "threads")
    return ", ".join(word for word in asked.raw_overrides if re.split("[.=]", word)[0] not in idle)


def find_dataset(path: Path | None, settings: Settings, registry: Registry) -> Settings:
    """Settings with the place of their data set, if it is read from a file; see :func:`find_data_path`."""
    name = settings.get("data", "name")
    if path is None or "path" not in registry.resolve("data", name).Config.model_fields:
        return settings
    found = {"data": {"path": str(find_data_path(path, name))}}
    return merge_settings(settings, Settings.from_tree(found, f"--data-path {path}"))


def find_data_path(path: Path, name: str) -> Path:
    """Where a data set lies.

    Args:
        path: A file, which it is; or a folder: there it is what is called like the data set, whatever the ending, else
            the folder itself.
        name: The data set's.
    """
    inside = [path / name, *sorted(path.glob(f"{name}.*"))] if path.is_dir() else []
    return next((place for place in inside if place.exists()), path)
