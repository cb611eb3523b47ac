"""The plan of a reproduction: cases configured and built, so that one that cannot run is known beforehand."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.comparison.plan import PlannedRun
from localrules.config.diff import INCIDENTAL
from localrules.config.settings import Settings, as_defaults, merge_settings
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
    """A case that is to be run.

    Attributes:
        experiment: The experiment's name.
        case: The case.
        budget: How long each of its runs is.
        on: The names of its ``model`` and ``data``; data whose files are not the published ones are called so.
        planned: Its runs; none of a case that is left out.
        data: Its data set; ``None`` where that cannot be read for want of a package.
        changed: What the user typed in place of the case's own settings.
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
    """Every case that is asked for, configured and built once: what cannot run is known before anything has run.

    A case that needs a package which is not installed is left out, if another remains.

    Raises:
        UsageError: No case fits, a case needs something that is not there, or ``below`` fills nothing.
        DataError: A data set cannot be read, or lacks the split that a case is scored on.
        MissingDependencyError: No case remains.
    """
    cases = [(name, case) for name, experiment in experiments.items() for case in matching_cases(experiment, asked)]
    _check_data(experiments, [case for _, case in cases], asked)
    data: dict[str, Dataset] = {}
    tasks = [_plan_case(name, case, experiments[name].claim, asked, registry, data) for name, case in cases]
    built: dict[str, MissingDependencyError | None] = {}
    tasks = [_built(task, built) for task in tasks]
    missing = [task.missing for task in tasks if task.missing is not None]
    if missing and len(missing) == len(tasks):
        raise missing[0]
    return _tag(tasks)


def excluded_cases(
    name: str, experiment: Experiment, asked: ReproductionRequest, registry: Registry
) -> list[PlannedCase]:
    """The cases that a pattern leaves out, configured; one that cannot be configured has not been run."""
    chosen = {case.name for case in matching_cases(experiment, asked)}
    data: dict[str, Dataset] = {}
    tasks = []
    for case in (case for case in experiment.cases if case.name not in chosen):
        with suppress(LocalRulesError):
            tasks.append(_plan_case(name, case, experiment.claim, asked, registry, data))
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
    """The cases of an experiment that are asked for."""
    return [case for case in experiment.cases if asked.selects(case.name)]


def unspecified_components(experiments: dict[str, Experiment]) -> set[str]:
    """Which of ``data`` and ``model`` some experiment leaves to the user; one without cases looks at any data."""
    cases = [case for experiment in experiments.values() for case in experiment.cases]
    found = {kind for case in cases for kind in ("data", "model") if kind not in _fixed(case)}
    return found | ({"data"} if any(not experiment.cases for experiment in experiments.values()) else set())


def _fixed(case: Case) -> list[str]:
    """Which of ``data`` and ``model`` a case names itself."""
    return [kind for kind in ("data", "model") if "name" in case.settings.get(kind, {})]


def find_dataset_settings(asked: ReproductionRequest, registry: Registry) -> Dataset:
    """The data set that experiments without cases look at."""
    settings = find_dataset(asked.data_path, asked.defaults, registry)
    return load_dataset(resolve_component("data", settings.sub("data"), registry))


def _check_data(experiments: dict[str, Experiment], cases: list[Case], asked: ReproductionRequest) -> None:
    names = [case.name for experiment in experiments.values() for case in experiment.cases]
    if unused := asked.unused_patterns(names):
        raise UsageError(
            f"no case fits {' or '.join(map(repr, unused))}",
            where="--cases",
            why=f"the cases are: {'; '.join(dict.fromkeys(names)) or 'none, since it trains nothing'}",
            fix="a * stands for anything: --cases 'mnist*'",
        )
    for name in ("data", "model"):
        # What trains nothing takes the same words as its neighbours, so that one line serves for all of a suite.
        if cases and name not in unspecified_components(experiments):
            asked.refuse_component(name, f"each case says on which {name} its value was published")


def _plan_case(
    name: str, case: Case, claim: str, asked: ReproductionRequest, registry: Registry, known: dict[str, Dataset]
) -> PlannedCase:
    budget = Budget.of(case.name, case.settings, asked.scale)
    settings = merge_settings(
        asked.defaults.without(*_fixed(case)),
        as_defaults(Settings.from_tree(case.settings, f"experiment {name}, case {case.name}"), asked.overrides),
        asked.overrides,
        Settings.from_tree(asked.incidental),
        Settings.from_tree({budget.unit: budget.length}, f"--scale {asked.scale:g}"),
    )
    on = {kind: str(settings.get(kind, "name")) for kind in ("model", "data")}
    task = PlannedCase(name, case, budget, on, changed=_deviations(case, asked), claim=claim, metrics=asked.metrics)
    try:
        return _configured(task, settings, asked, registry, known)
    except MissingDependencyError as error:
        return replace(task, missing=error)


def _configured(
    task: PlannedCase, settings: Settings, asked: ReproductionRequest, registry: Registry, known: dict[str, Dataset]
) -> PlannedCase:
    case = task.case
    seeds = case.seeds if asked.seeds is None else tuple(range(asked.seeds))
    run = resolve_run(find_dataset(asked.data_path, settings, registry), registry)
    config = run.config
    assert run.data is not None
    same = f"{config.data.model_dump_json()}, {config.holdout_fraction} of division {config.holdout_seed} held out"
    if same not in known:
        known[same] = load_run_dataset(config, run.data)
    data = known[same]
    data.split(evaluation_split(data, case.metric))  # says why there is none
    if case.metric == "valid_accuracy":
        data.split("valid")
    build_metrics(asked.metrics, data, evaluation_split(data, case.metric), registry)  # says in time what does not fit
    on = task.on if data.recognised else {**task.on, "data": f"{task.on['data']}, unrecognised files"}
    suppliers = providers(config, registry)
    planned = tuple(PlannedRun(case.name, run.with_settings(seed=seed), suppliers, data.fingerprint) for seed in seeds)
    return replace(task, on=on, planned=planned, data=data)


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


def _deviations(case: Case, asked: ReproductionRequest) -> str:
    """The user's settings that concern a case: options of a model or a data set only where the case leaves it open."""
    idle = (*_fixed(case), *INCIDENTAL, "device", "threads")
    return ", ".join(word for word in asked.raw_overrides if re.split("[.=]", word)[0] not in idle)


def find_dataset(path: Path | None, settings: Settings, registry: Registry) -> Settings:
    """Settings with the place of their data set, if it is read from a file; see :func:`find_data_path`."""
    name = settings.get("data", "name")
    if path is None or "path" not in registry.resolve("data", name).Config.model_fields:
        return settings
    found = {"data": {"path": str(find_data_path(path, name))}}
    return merge_settings(settings, Settings.from_tree(found, f"--data-path {path}"))


def find_data_path(path: Path, name: str) -> Path:
    """Find a data set.

    Args:
        path: A file, which it is; or a folder: there it is what begins with the data set's name, whatever follows, else
            the folder itself.
        name: The data set's.
    """
    inside = [path / name, *sorted(path.glob(f"{name}[._-]*"))] if path.is_dir() else []
    return next((place for place in inside if place.exists()), path)
