"""A comparison from Python: runs are made or read, scored, and shown on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.callbacks.base import Callback
from localrules.comparison import comparison, folder, report
from localrules.comparison.comparison import Comparison
from localrules.comparison.execute import run_all
from localrules.comparison.plan import SEEDS, check_rules, plan
from localrules.comparison.run_record import read_run_record
from localrules.comparison.scorer import Scorer
from localrules.config.settings import Settings, merge_settings
from localrules.engine.device import machine_defaults
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.runs.executor import EXECUTOR, make_executor
from localrules.runs.reference import locate_run
from localrules.runs.train import nest_settings
from localrules.utils.torch_utils import preserve_global_state

if TYPE_CHECKING:
    from localrules.runs.load import TrainedRun
    from localrules.runs.result import RunResult


def compare(
    runs: Sequence[str | Path | RunResult | TrainedRun] = (),
    *,
    rules: Sequence[str] = (),
    model: str | Mapping[str, Any] | None = None,
    data: str | Mapping[str, Any] | None = None,
    seeds: int | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    out: str | Path = "comparison",
    callbacks: Callable[[], Sequence[Callback]] = list,
    log: Callable[[str], object] = lambda line: None,
    metrics: Mapping[str, Path] | None = None,
    leak_check: bool = False,
    command: str | None = None,
    executor: str | Mapping[str, Any] | Settings | None = None,
    workers: int | None = None,
    plugins: Registry | Sequence[str | Path] = (),
    **more: Any,
) -> Comparison:
    """Compare rules on the same network, data and seeds, or compare runs that are done.

    Writes a page, ``index.html``, with a table, learning curves and settings. The call can be repeated after an
    interruption, and with more rules or seeds: what is done is not done again.

    Args:
        runs: Run folders, results or loaded runs, instead of ``rules``.
        rules: Names of at least two rules that are trained.
        model: The network, by name, or a mapping with ``name`` and options.
        data: The data set, likewise.
        seeds: Runs of each rule, with the seeds from 0; 3 if ``None``.
        settings: More settings of all runs, as :func:`localrules.train` takes them. A table called like a rule has
            options of that rule alone: ``{"hsic.beta": 50.0}``.
        out: The folder for the page, and for the run folders of ``rules``.
        callbacks: Makes the callbacks of one run.
        log: Receives a line before each run.
        metrics: Files of the metrics of plugins to compute, by name.
        leak_check: Also compare without the images of the valid split that are known from training.
        command: The command line that makes the page again, to be shown on it.
        executor: Where runs execute, by name, or a mapping with ``name`` and options. Unset: in this process, one
            after the other, or where there are several workers, on the default executor. The results are the same.
        workers: How many runs execute at the same time, 1 if ``None``. Without ``threads`` each has its part of the
            cores.
        plugins: As for :func:`localrules.train`; results and loaded runs have their own.
        **more: Settings of all runs, as for :func:`localrules.train`.

    Returns:
        The comparison; ``rows()`` has a dictionary for each rule.

    Raises:
        UsageError: Neither or both of ``runs`` and ``rules`` are given, an unknown name or setting, or a folder that
            holds something else.
        LocalRulesError: A run failed, or the user interrupted it.
    """
    if bool(runs) == bool(rules):
        raise UsageError(
            "runs and rules are both given" if runs else "there is nothing to compare",
            where="localrules.compare",
            why="either rules are trained (rules=...), or runs that are done are read",
            fix='e.g. localrules.compare(rules=["hsic", "backprop"], model="mlp", data="faces")',
        )
    registry, out = Registry.from_plugins(plugins), Path(out)
    named = {key: value for key, value in {"model": model, "data": data}.items() if value is not None}
    given = merge_settings(nest_settings(settings or {}), nest_settings({**named, **more}))
    scorer = Scorer(registry, metrics or {}, leak_check=leak_check)
    with preserve_global_state():
        if runs:
            of_rules = {"seeds": seeds, "executor": executor, "workers": workers}
            unused = [*given.tree, *(name for name, value in of_rules.items() if value is not None)]
            if unused:
                raise UsageError(
                    f"{unused[0]!r} is for runs that are yet to be made",
                    where="localrules.compare",
                    why="runs that are done are compared as they are",
                    fix="leave it out, or name rules instead of runs",
                )
            own = dict(locate_run(run, registry if isinstance(run, str | Path) else ()) for run in runs)
            records = [read_run_record(place, registry=known) for place, known in own.items()]
            found = comparison.compare_runs(records, registry, scorer)
            folder.acquire(out, None)
            report.write(found, out, command)
            folder.record(out, None, found.details())
            return found
        check_rules(rules, f"rules={list(rules)}")
        for kind in ("model", "data"):
            if given.get(kind, "name") is None:
                raise UsageError(f"no {kind} is named", where="localrules.compare", fix=f"name one with {kind}=...")
        given = merge_settings(Settings.from_tree(machine_defaults(given, workers or 1), "default"), given)
        runner = make_executor(executor, workers or 1, out / EXECUTOR, registry)
        planned = plan(rules, given, SEEDS if seeds is None else seeds, registry)
        shared = given.without(*rules, "seed").tree
        fingerprint = planned[0].fingerprint
        folder.acquire(out, shared, fingerprint)
        done, notes = run_all(planned, out / folder.RUNS, registry, callbacks, log, runner)
        found = comparison.compare_rules(rules, done, registry, scorer, notes)
        report.write(found, out, command)
        folder.record(out, shared, found.details(), fingerprint)
        return found
