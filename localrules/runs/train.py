"""Starting a run, resuming one, and bringing it to its end: the engine, the run folder and the trackers together."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.callbacks.base import Callback, CallbackList, Plot, RunInfo
from localrules.config.overrides import RUN_METADATA, Tree, diff, merge
from localrules.config.schema import ComponentConfig, RunConfig
from localrules.engine import checkpoint
from localrules.engine import mixture as mixing
from localrules.engine.builder import resolve_config, validate_config
from localrules.engine.compatibility import check_compatibility
from localrules.engine.device import warn_if_bf16_emulated
from localrules.engine.environment import REPRODUCIBILITY_KEYS, environment
from localrules.engine.layer_summary import layer_table
from localrules.engine.session import Session
from localrules.engine.trainer import Trainer, TrainingInterrupted, metric_names
from localrules.errors import LocalRulesError, UsageError
from localrules.runs import summary as closing
from localrules.runs.load import read_run
from localrules.tracking.records import read_summary
from localrules.tracking.run_folder import RunFolder, create_run_folder, lock_run
from localrules.utils.atomic_io import remove_unfinished
from localrules.utils.serialization import without_none

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

Summary = dict[str, Any]


def configure(settings: Tree, registry: Registry) -> RunConfig:
    """A run's whole configuration from the settings that were given; the rule's own defaults lie below them.

    Raises:
        UsageError: An unknown name or option, a value that does not fit, or a network that the rule cannot train.
    """
    settings = mixing.parse_mixture(settings)
    settings = _with_preset(settings, registry, settings["rule"]["name"])
    _, last = mixing.mixture_parts(ComponentConfig(**settings["rule"]))[
        -1
    ]  # of a mixture: by which all other layers learn
    settings = merge(registry.resolve("rule", last.name).info.run_defaults, settings)
    config = validate_config(RunConfig, settings, "")
    assert isinstance(config, RunConfig)
    config = resolve_config(config, registry)
    check_compatibility(config, registry)
    return config


def _with_preset(settings: Tree, registry: Registry, rule: str) -> Tree:
    """The preset that ``--preset`` names, with the other settings laid over it."""
    preset = settings.get("preset")
    if preset is None:
        return settings
    below: Tree = dict(registry.resolve("preset", preset))
    asked = {key: value for key, value in settings.items() if key != "preset"}
    named = below.get("rule", {}).get("preset")
    # The control of a paper's experiment has the same settings, and no form of its own in that paper.
    if named is not None and (rule == mixing.MIXED or named not in registry.resolve("rule", rule).info.presets):
        below["rule"] = {key: value for key, value in below["rule"].items() if key != "preset"}
    return merge(below, asked)


def train(config: RunConfig, registry: Registry, out: Path, callbacks: Sequence[Callback] = ()) -> Summary:
    """Train from the beginning, into a new folder under ``out``.

    Args:
        config: From :func:`configure`.
        registry: Where names are looked up.
        out: The parent of the run folder.
        watchers: Who watches, beside the run folder and the configured trackers.

    Returns:
        The summary, as ``summary.json`` holds it.

    Raises:
        LocalRulesError: Training failed, or the user stopped it; the folder can be resumed.
    """
    trackers = _trackers(config, registry)
    session = Session.build(config, registry)
    record = _record(config, registry, session)
    folder = create_run_folder(out, config.rule.name, config.model.name, record)
    with lock_run(folder):
        return _train(session, registry, folder, record, None, [*callbacks, *trackers])


def resume(folder: Path, registry: Registry, settings: Tree, callbacks: Sequence[Callback] = ()) -> Summary:
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
    config, record = read_run(folder)
    stored = {key: value for key, value in record.items() if key not in RUN_METADATA}
    settings = mixing.parse_mixture(settings)
    preset = _with_preset(settings, registry, {**stored["rule"], **settings.get("rule", {})}["name"])
    asked = to_plain_dict(configure(_merge_onto_run(stored, preset, registry), registry))
    _check_unchanged(folder, "the settings", diff(stored, asked))
    summary = completed_summary(folder)
    if summary is not None:
        return summary
    trackers = _trackers(config, registry)
    session = Session.build(config, registry)
    now = _record(config, registry, session)
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


def _merge_onto_run(stored: Tree, settings: Tree, registry: Registry) -> Tree:
    """Settings over a run's own; a rule's preset among them counts as if its options had been spelt out."""
    rule = settings.get("rule", {})
    name = rule.get("name", stored["rule"]["name"])
    presets = {} if name == mixing.MIXED else registry.resolve("rule", name).info.presets
    if rule.get("preset") in presets:
        settings = merge({"rule": presets[rule["preset"]]}, settings)
    return merge(stored, settings)


def _check_unchanged(folder: Path, what: str, lines: list[str]) -> None:
    if lines:
        raise UsageError(
            f"{what} differ from those of the run",
            where=str(folder),
            why="; ".join(lines),
            fix="resume with what the run was started with, or start a new run "
            f"(localrules run --config {shlex.quote(str(folder / 'config.toml'))})",
        )


def to_plain_dict(config: RunConfig) -> Tree:
    """The configuration as it reads back from TOML, which has no null."""
    return without_none(config.model_dump(mode="json"))


def _record(config: RunConfig, registry: Registry, session: Session) -> Tree:
    data, normalize = session.data, session.batches.preprocess.normalize
    return {
        **to_plain_dict(config),
        "environment": environment(config, registry, session.device.device),
        "trained_on": {
            "origin": data.origin,
            "fingerprint": data.fingerprint,
            "shape": list(data.shape),
            "classes": list(data.classes),
            "mean": list(normalize.mean),
            "std": list(normalize.std),
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


def _trackers(config: RunConfig, registry: Registry) -> list[Callback]:
    made: list[Callback] = []
    for name, options in config.trackers.items():
        kind = registry.resolve("tracker", name)
        chosen = validate_config(kind.Config, options, name)
        try:
            made.append(kind(chosen))
        except Exception as error:  # a tracker must never stop training
            warnings.warn(f"tracker {name!r} is left out of this run: {type(error).__name__}: {error}", stacklevel=2)
    return made
