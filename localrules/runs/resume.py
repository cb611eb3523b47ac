"""The resumption of a run from its last checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localrules.callbacks.base import Callback
from localrules.callbacks.callback_list import check_callbacks
from localrules.config.diff import replicas, resumable_settings, without_processes
from localrules.config.overrides import Tree, diff
from localrules.config.schema import RunConfig
from localrules.config.settings import Settings, merge_settings
from localrules.engine import checkpoint
from localrules.engine.environment import REPRODUCIBILITY_KEYS
from localrules.engine.exported_weights import refuse_export
from localrules.engine.resolve import resolve_run, spell_out_presets
from localrules.engine.session import Session
from localrules.errors import UsageError, warn
from localrules.registry.registry import Registry
from localrules.runs.execution import build_trackers, check_early_stopping, execute_run, run_record
from localrules.runs.load import TrainedRun, read_run
from localrules.runs.processes import follow, processes_of
from localrules.runs.reference import locate_run
from localrules.runs.result import RunResult, completed_summary
from localrules.runs.suppliers import name_suppliers
from localrules.runs.train import nest_settings
from localrules.tracking.records import CONFIG, read_summary
from localrules.tracking.run_folder import lock_run
from localrules.utils.atomic_io import remove_unfinished
from localrules.utils.text import shell_quote
from localrules.utils.torch_utils import preserve_global_state


def resume(
    run: str | Path | RunResult | TrainedRun,
    *,
    settings: Settings | Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
    plugins: Registry | Sequence[str | Path] = (),
) -> RunResult:
    """Continue a run from its last checkpoint; a run that is done is left as it is.

    The continued run ends with the same bits as one that was never interrupted, unless processes that divide the layers
    now divide the batches into another number of parts: then within rounding, and with a warning.

    Args:
        run: The run folder, the result of :func:`localrules.train` or a loaded run.
        settings: Settings that must agree with those of the run, as :func:`localrules.train` takes them. Processes
            may begin to divide the layers (``devices=2, parallel="layers"``), or no longer do so, and their number may
            change then; ``process_timeout``, ``eval_batch_size`` and ``parallel_layers`` may change at any time.
        callbacks: As for :func:`localrules.train`.
        plugins: As for :func:`localrules.train`, with a folder; a result and a loaded run have their own.

    Raises:
        UsageError: The settings, the data, the versions or the machine differ from the run's, or plugins are given with
            a result or a loaded run.
        LocalRulesError: Training failed, or the user interrupted it.
    """
    check_callbacks(callbacks)
    folder, registry = locate_run(run, plugins)
    stored, record = read_run(folder)
    refuse_export(folder)
    given = nest_settings(settings or {})
    with name_suppliers(record):
        given = spell_out_presets(given, given.get("rule", "name", default=stored.rule.name), registry)
        resolved = resolve_run(merge_settings(Settings.from_file(folder / CONFIG), given), registry)
    _check_unchanged(folder, "the settings", _differences(stored.to_dict(), resolved.config.to_dict()))
    summary = completed_summary(folder)
    if summary is not None:
        checkpoint.repair_weights(folder, checkpoint.settings_sha256(stored.to_dict(), record["trained_on"]))
        return RunResult(folder, summary, record, registry)
    with preserve_global_state(), processes_of(resolved, registry, folder) as processes:
        if not processes.is_main:
            return follow(processes, resolved, registry)
        trackers = build_trackers(resolved, resumed=True)
        session = Session.build(resolved, join=True)
        check_early_stopping(session, [*callbacks, *trackers])
        now = run_record(registry, session)
        was, here = record["environment"], now["environment"]
        known = {"environment": {key: was.get(key) for key in REPRODUCIBILITY_KEYS}, "trained_on": record["trained_on"]}
        found = {"environment": {key: here[key] for key in REPRODUCIBILITY_KEYS}, "trained_on": now["trained_on"]}
        _check_unchanged(folder, "the machine, the versions or the data", diff(known, found))
        with lock_run(folder):
            for place in (folder, folder / "checkpoints"):
                remove_unfinished(place)
            progress = checkpoint.restore(folder / "checkpoints", session)
            if progress is None and read_summary(folder):
                raise checkpoint.lost_checkpoint_error(folder)
            if progress is not None:
                changed = _differences(RunConfig.complete(progress["config"]), resolved.config.to_dict())
                _check_unchanged(folder, f"the settings in {CONFIG}", changed)
                _warn_of_other_parts(replicas(progress["config"]), resolved.config.replicas)
            result = execute_run(session, registry, folder, record, progress, [*callbacks, *trackers])
        return processes.share_result(session, result)


def _differences(before: Tree, after: Tree) -> list[str]:
    """The differences of settings, if there is any with which a run cannot be continued."""
    was, now = without_processes(resumable_settings(before), resumable_settings(after))
    return diff(before, after) if was != now else []


def _warn_of_other_parts(before: int, now: int) -> None:
    if before != now:
        warn(
            f"batches were divided into {before} part{'s'[: before != 1]}, and now are into {now}: the result is equal "
            "within rounding, not bit for bit, and batch norms that are not synchronised see another part of a batch"
        )


def _check_unchanged(folder: Path, what: str, lines: list[str]) -> None:
    if lines:
        raise UsageError(
            f"{what} differ from those of the run",
            where=str(folder),
            why="; ".join(lines),
            fix="resume with what the run was started with, or start a new run "
            f"(localrules run --config {shell_quote(folder / CONFIG)})",
        )
