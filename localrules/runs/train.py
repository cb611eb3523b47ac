"""The start of a run: from settings to a trained network in a new run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localrules.auditing.in_run import check_can_audit
from localrules.callbacks.base import Callback
from localrules.callbacks.callback_list import check_callbacks
from localrules.config.overrides import COMPONENTS, nest
from localrules.config.settings import Location, Settings, merge_settings
from localrules.config.unused import unused_settings
from localrules.engine.device import machine_defaults
from localrules.engine.resolve import resolve_run
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.session import Session
from localrules.errors import UsageError, warn
from localrules.registry.registry import Registry
from localrules.runs.execution import build_trackers, check_early_stopping, execute_run, run_record
from localrules.runs.processes import follow, processes_of
from localrules.runs.result import RunResult
from localrules.tracking.run_folder import create_run_folder, lock_run
from localrules.utils.torch_utils import preserve_global_state


def train(
    rule: str | Mapping[str, Any] | None = None,
    model: str | Mapping[str, Any] | None = None,
    data: str | Mapping[str, Any] | None = None,
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    out: str | Path = "runs",
    callbacks: Sequence[Callback] = (),
    plugins: Registry | Sequence[str | Path] = (),
    **more: Any,
) -> RunResult:
    """Train a network by a learning rule, into a new run folder.

    A network, a data set and a rule are named as on the command line, or given as a mapping with the options of each::

        localrules.train(
            rule={"name": "hsic", "beta": 50.0},
            model="mlp",
            data="faces",
            steps=200,
            optimizer={"lr": 1e-3},
        )

    The run computes on the device and the threads that its settings name. The global state of torch (threads,
    deterministic algorithms, random generators) is put back afterwards.

    Args:
        rule: The learning rule, by name, or a mapping with ``name`` and options.
        model: The network, likewise.
        data: The data set, likewise.
        settings: More settings, nested or by dotted name, e.g. ``{"rule.beta": 50.0}``. What is given by keyword
            wins.
        out: The folder that run folders are made in.
        callbacks: Receive the events of the run; see :class:`localrules.Callback`. An exception of theirs ends the
            run.
        plugins: Python files to load as plugins besides the installed ones, as ``--plugin`` does; or a registry.
        **more: Settings of the run by their names in ``config.toml``: ``steps``, ``epochs``, ``batch_size``, ``seed``,
            ``optimizer={"lr": 0.01}``, ``early_stopping={"patience": 3}``. ``threads`` is all cores if unset.

    Returns:
        The result, with the run folder and the summary.

    Raises:
        UsageError: An unknown name or setting, a value that does not fit, or a network that the rule cannot train.
        LocalRulesError: Training failed, or the user interrupted it; the run can be resumed.
    """
    registry = Registry.from_plugins(plugins)
    named = {key: value for key, value in {"rule": rule, "model": model, "data": data}.items() if value is not None}
    given = merge_settings(nest_settings(settings or {}), nest_settings({**named, **more}))
    for kind in COMPONENTS:
        if given.get(kind, "name") is None:
            raise UsageError(f"no {kind} is named", where="localrules.train", fix=f"name one, e.g. {_EXAMPLES[kind]}")
    given = merge_settings(Settings.from_tree(machine_defaults(given), "default"), given)
    return start(resolve_run(given, registry), registry, Path(out), callbacks)


_EXAMPLES = {"rule": 'rule="hsic"', "model": 'model="dense_fpn_small"', "data": 'data="faces"'}


def start(run: ResolvedRun, registry: Registry, out: Path, callbacks: Sequence[Callback] = ()) -> RunResult:
    """Start a run that is resolved, in a new folder under ``out``.

    Args:
        run: From :func:`localrules.engine.resolve.resolve_run`.
        registry: Where names are looked up.
        out: The parent of the run folder.
        callbacks: The callbacks, beside the run folder and the configured trackers.

    Raises:
        LocalRulesError: Training failed, or the user interrupted it; the folder can be resumed.
    """
    check_callbacks(callbacks)
    with preserve_global_state(), processes_of(run, registry) as processes:
        if not processes.is_main:
            return follow(processes, run, registry)
        trackers = build_trackers(run)
        session = Session.build(run, join=True)
        check_early_stopping(session, [*callbacks, *trackers])
        if run.config.audit:
            check_can_audit()
        for sentence in unused_settings(run.config):
            warn(sentence)
        record = run_record(registry, session)
        folder = create_run_folder(out, run.config.rule.name, run.model.name, record)
        processes.folder = folder
        with lock_run(folder):
            result = execute_run(session, registry, folder, record, None, [*callbacks, *trackers])
        return processes.share_result(session, result)


def nest_settings(settings: Settings | Mapping[str, Any]) -> Settings:
    """Settings as a tree: dotted names are taken apart, and ``rule="hsic"`` becomes a table with a name.

    Raises:
        UsageError: A value where a table is expected.
    """
    if isinstance(settings, Settings):
        return settings
    if settings.get("steps") is not None and settings.get("epochs") is not None:
        raise UsageError(
            "steps and epochs are both given",
            where=f"steps={settings['steps']}, epochs={settings['epochs']}",
            why="each is the length of the run",
            fix="leave out one of them",
        )
    # One at a time: a table may stand beside the dotted name of an option in it.
    return merge_settings(*(Settings.from_tree(nest({name: value}), _source) for name, value in settings.items()))


def _source(location: Location) -> str:
    """The source of a value that was given in Python, as errors name it."""
    return f"the setting {'.'.join(map(str, location))}"
