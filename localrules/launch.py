"""Starting a run, resuming one, and bringing it to its end: the engine, the run folder and the trackers together."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules import closing
from localrules.engine import checkpoint, mixing
from localrules.engine.building import options_of, resolve
from localrules.engine.config import Choice, RunConfig
from localrules.engine.environment import BITS_DEPEND_ON, environment
from localrules.engine.half_precision import warn_of_emulation
from localrules.engine.observers import Observer, Observers, Picture, RunInfo
from localrules.engine.session import Session
from localrules.engine.settings import RECORDED, Tree, differences, merge
from localrules.engine.table import layer_table
from localrules.engine.trainer import Stopped, Trainer, columns
from localrules.errors import LocalRulesError, UsageError
from localrules.files import remove_unfinished
from localrules.finished import read_run
from localrules.fitting import refuse_misfit
from localrules.tracking.records import read_summary
from localrules.tracking.run_folder import RunFolder, create, held

if TYPE_CHECKING:
    from localrules.plugins import Registry

Summary = dict[str, Any]


def configure(settings: Tree, registry: Registry) -> RunConfig:
    """A run's whole configuration from the settings that were given; the rule's own defaults lie below them.

    Raises:
        UsageError: An unknown name or option, a value that does not fit, or a network that the rule cannot train.
    """
    settings = mixing.spelt_out(settings)
    settings = _with_preset(settings, registry, settings["rule"]["name"])
    _, last = mixing.choices(Choice(**settings["rule"]))[-1]  # of a mixture: by which all other layers learn
    settings = merge(registry.resolve("rule", last.name).run_defaults, settings)
    config = options_of(RunConfig, settings, "")
    assert isinstance(config, RunConfig)
    config = resolve(config, registry)
    refuse_misfit(config, registry)
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
    if named is not None and (rule == mixing.MIXED or named not in registry.resolve("rule", rule).presets):
        below["rule"] = {key: value for key, value in below["rule"].items() if key != "preset"}
    return merge(below, asked)


def start(config: RunConfig, registry: Registry, out: Path, watchers: Sequence[Observer] = ()) -> Summary:
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
    folder = create(out, config.rule.name, config.model.name, record)
    with held(folder):
        return _train(session, registry, folder, record, None, [*watchers, *trackers])


def resume(folder: Path, registry: Registry, settings: Tree, watchers: Sequence[Observer] = ()) -> Summary:
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
    stored = {key: value for key, value in record.items() if key not in RECORDED}
    settings = mixing.spelt_out(settings)
    preset = _with_preset(settings, registry, {**stored["rule"], **settings.get("rule", {})}["name"])
    asked = plain(configure(_over(stored, preset, registry), registry))
    _refuse(folder, "the settings", differences(stored, asked))
    summary = finished(folder)
    if summary is not None:
        return summary
    trackers = _trackers(config, registry)
    session = Session.build(config, registry)
    now = _record(config, registry, session)
    was, here = record["environment"], now["environment"]
    known = {"environment": {key: was.get(key) for key in BITS_DEPEND_ON}, "trained_on": record["trained_on"]}
    found = {"environment": {key: here[key] for key in BITS_DEPEND_ON}, "trained_on": now["trained_on"]}
    _refuse(folder, "the machine, the versions or the data", differences(known, found))
    with held(folder):
        for place in (folder, folder / "checkpoints"):
            remove_unfinished(place)
        progress = checkpoint.restore(folder / "checkpoints", session)
        return _train(session, registry, folder, record, progress, [*watchers, *trackers])


def finished(folder: Path) -> Summary | None:
    """What a run came to that is done; ``None`` if it is not. The folder may have been moved since."""
    folder = folder.expanduser().resolve()
    summary = read_summary(folder)
    return {**summary, "run_dir": str(folder)} if summary and summary.get("status") == "done" else None


def _over(stored: Tree, settings: Tree, registry: Registry) -> Tree:
    """Settings over a run's own; a rule's preset among them counts as if its options had been spelt out."""
    rule = settings.get("rule", {})
    name = rule.get("name", stored["rule"]["name"])
    presets = {} if name == mixing.MIXED else registry.resolve("rule", name).presets
    if rule.get("preset") in presets:
        settings = merge({"rule": presets[rule["preset"]]}, settings)
    return merge(stored, settings)


def _refuse(folder: Path, what: str, lines: list[str]) -> None:
    if lines:
        raise UsageError(
            f"{what} differ from those of the run",
            where=str(folder),
            why="; ".join(lines),
            fix="resume with what the run was started with, or start a new run "
            f"(localrules run --config {shlex.quote(str(folder / 'config.toml'))})",
        )


def plain(config: RunConfig) -> Tree:
    """The configuration as it reads back from TOML, which has no null."""
    return _without_none(config.model_dump(mode="json"))


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _without_none(value) for key, value in tree.items() if value is not None}
    return [_without_none(item) for item in tree] if isinstance(tree, list) else tree


def _record(config: RunConfig, registry: Registry, session: Session) -> Tree:
    data, standard = session.data, session.predictor.standard
    return {
        **plain(config),
        "environment": environment(config, registry, session.ranks.device),
        "trained_on": {
            "origin": data.origin,
            "fingerprint": data.fingerprint,
            "shape": list(data.shape),
            "classes": list(data.classes),
            "mean": list(standard.mean),
            "deviation": list(standard.deviation),
            "redistributable": data.redistributable,
        },
    }


def _train(
    session: Session,
    registry: Registry,
    folder: Path,
    record: Tree,
    progress: dict[str, Any] | None,
    watchers: Sequence[Observer],
) -> Summary:
    config = session.config
    warn_of_emulation(config, session.ranks.device)
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
        columns=columns(session),
        phases=tuple(session.phases),
        plugin_files=registry.files,
    )
    observers = Observers([*watchers, *registry.observers()], essential=[RunFolder()])
    trainer = Trainer(session, observers, folder / "checkpoints", info)
    if progress:
        trainer.resume(progress)
    try:
        observers.start(info)
        trainer.run()
        summary = closing.summarize(session, trainer, folder, info)
        observers.end(summary, _pictures(session, folder))
    except Stopped:
        summary = closing.summarize(session, trainer, folder, info, stopped=True)
        observers.end(summary, [])
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


def _pictures(session: Session, folder: Path) -> list[Picture]:
    """Draw what was learned; a run that is done stays done where that cannot be drawn."""
    try:
        return closing.draw(session, folder)
    except Exception as error:
        warnings.warn(f"the pictures could not be drawn: {type(error).__name__}: {error}", stacklevel=2)
        return []


def _trackers(config: RunConfig, registry: Registry) -> list[Observer]:
    made: list[Observer] = []
    for name, options in config.trackers.items():
        kind = registry.resolve("tracker", name)
        chosen = options_of(kind.Config, options, name)
        try:
            made.append(kind(chosen))
        except Exception as error:  # a tracker must never stop training
            warnings.warn(f"tracker {name!r} is left out of this run: {type(error).__name__}: {error}", stacklevel=2)
    return made
