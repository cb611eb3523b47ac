"""Starting a run, resuming one, and bringing it to its end: the engine, the run folder and the trackers together."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.callbacks.base import Callback, CallbackList, Plot, RunInfo
from localrules.config.overrides import Tree, diff
from localrules.config.settings import Settings, merge_settings
from localrules.engine import checkpoint
from localrules.engine.device import warn_if_bf16_emulated
from localrules.engine.environment import REPRODUCIBILITY_KEYS, environment
from localrules.engine.layer_summary import layer_table
from localrules.engine.resolve import resolve_run, spell_out_presets
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.session import Session
from localrules.engine.trainer import Trainer, TrainingInterrupted, metric_names
from localrules.errors import LocalRulesError, UsageError
from localrules.runs import summary as closing
from localrules.runs.load import read_run
from localrules.tracking.records import CONFIG, read_summary
from localrules.tracking.run_folder import RunFolder, create_run_folder, lock_run
from localrules.utils.atomic_io import remove_unfinished

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

Summary = dict[str, Any]


def train(run: ResolvedRun, registry: Registry, out: Path, callbacks: Sequence[Callback] = ()) -> Summary:
    """Train from the beginning, into a new folder under ``out``.

    Args:
        run: From :func:`localrules.engine.resolve.resolve_run`.
        registry: Where names are looked up.
        out: The parent of the run folder.
        watchers: Who watches, beside the run folder and the configured trackers.

    Returns:
        The summary, as ``summary.json`` holds it.

    Raises:
        LocalRulesError: Training failed, or the user stopped it; the folder can be resumed.
    """
    trackers = _trackers(run)
    session = Session.build(run)
    record = _record(registry, session)
    folder = create_run_folder(out, run.config.rule.name, run.model.name, record)
    with lock_run(folder):
        return _train(session, registry, folder, record, None, [*callbacks, *trackers])


def resume(folder: Path, registry: Registry, settings: Settings | Tree, callbacks: Sequence[Callback] = ()) -> Summary:
    """Continue a run from its last checkpoint; a finished run is left as it is.

    The continued run ends with the same bits as one that was never stopped.

    Args:
        folder: The run folder.
        registry: Where names are looked up.
        settings: Settings given beside ``--resume``; they must say what the run says.
        watchers: Who watches.

    Raises:
        UsageError: The settings, the data, the versions or the machine differ from the run's.
    """
    folder = folder.expanduser().resolve()
    stored, record = read_run(folder)
    given = settings if isinstance(settings, Settings) else Settings.from_tree(settings)
    given = spell_out_presets(given, given.get("rule", "name", default=stored.rule.name), registry)
    run = resolve_run(merge_settings(Settings.from_file(folder / CONFIG), given), registry)
    _check_unchanged(folder, "the settings", diff(stored.to_dict(), run.config.to_dict()))
    summary = completed_summary(folder)
    if summary is not None:
        return summary
    trackers = _trackers(run)
    session = Session.build(run)
    now = _record(registry, session)
    was, here = record["environment"], now["environment"]
    known = {"environment": {key: was.get(key) for key in REPRODUCIBILITY_KEYS}, "trained_on": record["trained_on"]}
    found = {"environment": {key: here[key] for key in REPRODUCIBILITY_KEYS}, "trained_on": now["trained_on"]}
    _check_unchanged(folder, "the machine, the versions or the data", diff(known, found))
    with lock_run(folder):
        for place in (folder, folder / "checkpoints"):
            remove_unfinished(place)
        progress = checkpoint.restore(folder / "checkpoints", session)
        return _train(session, registry, folder, record, progress, [*callbacks, *trackers])


def completed_summary(folder: Path) -> Summary | None:
    """What a run came to that is done; ``None`` if it is not. The folder may have been moved since."""
    folder = folder.expanduser().resolve()
    summary = read_summary(folder)
    return {**summary, "run_dir": str(folder)} if summary and summary.get("status") == "done" else None


def _check_unchanged(folder: Path, what: str, lines: list[str]) -> None:
    if lines:
        raise UsageError(
            f"{what} differ from those of the run",
            where=str(folder),
            why="; ".join(lines),
            fix="resume with what the run was started with, or start a new run "
            f"(localrules run --config {shlex.quote(str(folder / 'config.toml'))})",
        )


def _record(registry: Registry, session: Session) -> Tree:
    config, data, standard = session.config, session.data, session.predictor.normalize
    return {
        **config.to_dict(),
        "environment": environment(config, registry, session.device.device),
        "trained_on": {
            "origin": data.origin,
            "fingerprint": data.fingerprint,
            "shape": list(data.shape),
            "classes": list(data.classes),
            "mean": list(standard.mean),
            "deviation": list(standard.std),
            "redistributable": data.redistributable,
        },
    }


def _train(
    session: Session,
    registry: Registry,
    folder: Path,
    record: Tree,
    progress: dict[str, Any] | None,
    callbacks: Sequence[Callback],
) -> Summary:
    config = session.config
    warn_if_bf16_emulated(config, session.device.device)
    info = RunInfo(
        directory=folder,
        rule=config.rule.name,
        model=config.model.name,
        data=config.data.name,
        config=record,
        layers=layer_table(session),
        classes=session.data.classes,
        redistributable=session.data.redistributable,
        total_steps=session.total_steps,
        steps_per_epoch=session.batches.steps_per_epoch,
        resumed_from_step=progress["step"] if progress else 0,
        columns=metric_names(session),
        phases=tuple(session.phases),
        plugin_files=registry.files,
    )
    observers = CallbackList([*callbacks, *registry.callbacks()], essential=[RunFolder()])
    trainer = Trainer(session, observers, folder / "checkpoints", info)
    if progress:
        trainer.resume(progress)
    try:
        observers.on_run_start(info)
        trainer.run()
        summary = closing.summarize(session, trainer, folder, info)
        observers.on_run_end(summary, _save_plots(session, folder))
    except TrainingInterrupted:
        summary = closing.summarize(session, trainer, folder, info, stopped=True)
        observers.on_run_end(summary, [])
        raise LocalRulesError(
            f"stopped at step {trainer.step} of {session.total_steps}",
            where=str(folder),
            why="it was asked to; the step was finished and a checkpoint written",
            fix=info.command("run --resume"),
        ) from None
    except KeyboardInterrupt:
        raise LocalRulesError(
            "interrupted",
            where=str(folder),
            why="it was ended at once; what came after its last checkpoint is done again when it goes on",
            fix=info.command("run --resume"),
        ) from None
    finally:
        observers.close()
    return summary


def _save_plots(session: Session, folder: Path) -> list[Plot]:
    """Draw what was learned; a run that is done stays done where that cannot be drawn."""
    try:
        return closing.save_plots(session, folder)
    except Exception as error:
        warnings.warn(f"the pictures could not be drawn: {type(error).__name__}: {error}", stacklevel=2)
        return []


def _trackers(run: ResolvedRun) -> list[Callback]:
    made: list[Callback] = []
    for tracker in run.trackers:
        try:
            made.append(tracker.build())
        except Exception as error:  # a tracker must never stop training
            warnings.warn(
                f"tracker {tracker.name!r} is left out of this run: {type(error).__name__}: {error}", stacklevel=2
            )
    return made
