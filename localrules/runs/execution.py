"""The execution of a run that is built: the engine, the run folder and the callbacks together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.auditing.in_run import InRunAudit
from localrules.callbacks.base import Callback, Plot, RunInfo
from localrules.callbacks.callback_list import CallbackList
from localrules.callbacks.early_stopping import EarlyStopping
from localrules.config.overrides import Tree
from localrules.config.schema import HISTOGRAMS
from localrules.engine.device import warn_if_slower_than_asked
from localrules.engine.environment import environment
from localrules.engine.layer_summary import layer_table
from localrules.engine.layerwise import LayerwiseRule
from localrules.engine.pipeline.stage_trainer import trainer_of
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.session import Session
from localrules.engine.trainer import TrainingInterrupted, metric_names
from localrules.errors import LocalRulesError, UsageError, describe_exception, suggest_names, warn
from localrules.runs import summary as closing
from localrules.runs.processes import share_start
from localrules.runs.result import RunResult
from localrules.tracking.kept_state import read_kept
from localrules.tracking.run_folder import RunFolder, record_error
from localrules.utils.text import printable

if TYPE_CHECKING:
    from localrules.registry.registry import Registry


class RunStopped(LocalRulesError):
    """The run was asked to stop by a signal; it has a checkpoint, and can be resumed."""


def run_record(registry: Registry, session: Session) -> Tree:
    """The content of a run's ``config.toml``: its settings, the environment, and the data it is trained on."""
    config, data, normalize = session.config, session.data, session.batches.preprocess.normalize
    return {
        **config.to_dict(),
        "environment": environment(config, registry, session.device.device),
        "trained_on": {
            "origin": printable(data.origin),
            "fingerprint": data.fingerprint,
            "shape": list(data.shape),
            "classes": list(data.classes),
            "mean": list(normalize.mean),
            "std": list(normalize.std),
            "redistributable": data.redistributable,
        },
    }


def check_early_stopping(session: Session, callbacks: Sequence[Callback]) -> None:
    """Refuse early stopping by a metric that there will not be, before anything is trained.

    Args:
        session: The run.
        callbacks: Its callbacks: names of metrics that they measure are not known before.

    Raises:
        UsageError: There is no valid split, no layer logs a metric of this name, or what the metric is of does not
            learn in the last phase, which counts.
    """
    config = session.config.early_stopping
    if config is None:
        return
    if config.metric.startswith("valid_") and "valid" not in session.data.splits:
        raise UsageError(
            f"early stopping needs the metric {config.metric!r}, which this run does not log",
            where="early_stopping.metric",
            why=f"data set {session.data.name!r} has no valid split",
            fix="hold some of the training split out (--set holdout_fraction=0.1), or choose another metric",
        )
    known, layers = metric_names(session), {each.name for each in session.network.layers}
    # What objectives log, as <name>/<layer>, what other rules report, and what callbacks measure, is known only later.
    may_come = (
        config.metric.rpartition("/")[2] in layers
        or not isinstance(session.rule, LayerwiseRule)
        or any(type(one).on_measure is not Callback.on_measure for one in callbacks)
    )
    if config.metric == "phase" or (config.metric not in known and not may_come):
        raise UsageError(
            f"early stopping needs the metric {config.metric!r}, which this run does not log",
            where="early_stopping.metric",
            why="neither a layer nor a callback of this run measures it",
            fix=suggest_names(config.metric, [column for column in known if column != "phase"]),
        )
    last, readout = session.phases[-1], session.network.readout
    layer = config.metric.removeprefix("objective/")
    if layer in ("loss", "accuracy") and session.rule.trains(readout):
        layer = readout.name
    if layer in layers - last.trainable_layers - last.frozen_layers:
        raise UsageError(
            f"early stopping needs the metric {config.metric!r}, which the last phase does not log",
            where="early_stopping.metric",
            why=f"{layer} does not learn in phase {last.name!r}, and only evaluations of the last phase count",
            fix="choose valid_accuracy, or the objective of a layer that learns there",
        )


def build_trackers(run: ResolvedRun, *, resumed: bool = False) -> list[Callback]:
    """The trackers that a run names; one whose code fails is left out, with a warning.

    Args:
        run: The run.
        resumed: Whether it was begun already: then one that says that it cannot work here is left out, too.

    Raises:
        UsageError: A tracker says that it cannot work here, such as one whose package is not installed.
    """
    made: list[Callback] = []
    for tracker in run.trackers:
        try:
            made.append(tracker.build())
        except UsageError as error:
            if not resumed:
                raise
            warn(f"tracker {tracker.name!r} is left out of this run: {_reason(error)}")
        except Exception as error:  # a tracker must never stop training
            warn(f"tracker {tracker.name!r} is left out of this run: {_reason(error)}")
    return made


def execute_run(
    session: Session,
    registry: Registry,
    folder: Path,
    record: Tree,
    progress: dict[str, Any] | None,
    callbacks: Sequence[Callback],
) -> RunResult:
    """Train a session to its end, write the summary, and draw the plots.

    Args:
        session: The run; of a resumed one with the state of its checkpoint.
        registry: Where names are looked up.
        folder: The run folder.
        record: The content of its ``config.toml``.
        progress: The progress that the checkpoint holds; ``None`` for a fresh run.
        callbacks: The callbacks, beside the run folder, early stopping and the hooks of plugins.

    Raises:
        LocalRulesError: Training failed, or the user interrupted it; the folder can be resumed.
    """
    config = session.config
    share_start(session, folder, record, progress)
    warn_if_slower_than_asked(config, session.device.device)
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
        locality=session.run.locality,
        state=read_kept(folder),
    )
    stopping = [] if config.early_stopping is None else [EarlyStopping(**config.early_stopping.model_dump())]
    receivers = [*callbacks, *registry.callbacks()]
    if HISTOGRAMS in config.diagnostics and all(type(one).on_results is Callback.on_results for one in receivers):
        warn("histograms are measured and kept nowhere: the run has no tracker (--wandb auto, --track tensorboard)")
    events = CallbackList([RunFolder(), *stopping, *receivers])
    audit = InRunAudit(session, folder) if config.audit else None
    trainer = trainer_of(session, events, folder / "checkpoints", info.state, *([audit.before_step] if audit else []))
    if progress:
        trainer.resume(progress)
    try:
        events.on_run_start(info)
        trainer.run()
        with session.averaged_weights():
            scored = closing.score(session, trainer.valid_scores)
            summary = closing.summarize(session, trainer, folder, info, scored)
            if audit is not None and audit.points:
                summary["locality"] = audit.locality()
            events.on_run_end(summary, _save_plots(session, info, summary, scored, audit))
    except TrainingInterrupted:
        with session.averaged_weights():
            summary = closing.summarize(session, trainer, folder, info, None)
            events.on_run_end(summary, [])
        raise RunStopped(
            f"stopped at step {trainer.step} of {session.total_steps}",
            where=str(folder),
            why="it was interrupted; the step was finished and a checkpoint written",
            fix=info.command("run --resume"),
        ) from None
    except KeyboardInterrupt:
        raise LocalRulesError(
            "interrupted",
            where=str(folder),
            why="it was ended at once; what came after its last checkpoint is done again when it goes on",
            fix=info.command("run --resume"),
        ) from None
    except OSError as error:
        found = record_error(info, error)
        if found is None:
            raise
        raise found from error
    finally:
        events.close()
    return RunResult(folder, summary, record, registry)


def _save_plots(
    session: Session, info: RunInfo, summary: Tree, scored: closing.FinalScores, audit: InRunAudit | None
) -> list[Plot]:
    """Draw what was learned, and make the run's page; a run that is done stays done where that fails."""
    if not session.config.plots:
        return []
    from localrules.runs.page import write_run_page
    from localrules.runs.plots import save_audit_plot, save_plots

    folder = info.directory
    try:
        plots = save_plots(session, folder, scored)
        measured = audit if audit is not None and audit.points else None
        if measured is not None:
            plots.append(save_audit_plot(session, folder, measured))
        write_run_page(info, summary, scored, plots, measured)
        return plots
    except Exception as error:
        warn(f"the plots could not be drawn: {_reason(error)}")
        return []


def _reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, LocalRulesError):
        return f"{error.what}: {error.why} ({error.where})" if error.where else f"{error.what}: {error.why}"
    return describe_exception(error)
