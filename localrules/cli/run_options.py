"""Settings of a command line: a file, then ``--set``, then the flags; and what depends on the machine."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localrules.errors import UsageError

if TYPE_CHECKING:
    from localrules.config.settings import Settings
    from localrules.registry.registry import Registry

Tree = dict[str, Any]

MOST_DIGITS = 19  # of a number of parts

FLAGS = {
    "rule.name": "--rule",
    "model.name": "--model",
    "data.name": "--data",
    "data.path": "--data-path",
    "data.download": "--download",
    "optimizer.lr": "--lr",
    "diagnostics": "--diagnose",
    "trackers.wandb.mode": "--wandb",
    "trackers.wandb.group": "--wandb",
}
"""The flags of settings that have other names; all else is its own name with hyphens."""


def collect_settings(
    flags: Tree,
    overrides: Sequence[str],
    file: Path | None,
    track: Sequence[str],
    registry: Registry,
    tracked: Collection[str] = (),
) -> Settings:
    """The settings that a user typed.

    Args:
        flags: The flags by dotted name; ``None`` where a flag was left out.
        overrides: What ``--set`` was given.
        file: What ``--config`` was given.
        track: What ``--track`` was given.
        registry: Where trackers are looked up.
        tracked: The trackers that a run to be continued has.

    Raises:
        UsageError: What was typed is not a setting, or does not go together.
    """
    from localrules.config.settings import Settings, merge_settings

    if flags.get("steps") is not None and flags.get("epochs") is not None:
        raise UsageError("--steps and --epochs are both given", where="localrules run", fix="leave out one of them")
    granularity, path = flags.get("granularity"), flags.get("data.path")
    is_number = granularity is not None and granularity.isascii() and granularity.isdigit()
    number = int(granularity) if granularity and is_number and len(granularity) < MOST_DIGITS else granularity
    values = {**flags, "granularity": number, "data.path": None if path is None else str(path)}
    below = [
        Settings.from_file(file) if file else Settings(),
        *(Settings.from_tree({"trackers": {name: {}}}, f"--track {name}") for name in track),
    ]
    typed, above = Settings.from_overrides(overrides), Settings.from_flags(values, FLAGS)
    on = {*tracked} | {name for layer in (*below, above) for name in layer.get("trackers", default={})}
    named = {item.entry.name for item in registry.entries("tracker")}
    return merge_settings(*(with_trackers(layer, on, named) for layer in (*below, typed, above)))


def with_trackers(settings: Settings, on: set[str], named: set[str]) -> Settings:
    """Move ``--set wandb.media=true`` to where the configuration keeps it.

    Args:
        settings: Some settings.
        on: The trackers of the run.
        named: The trackers that there are.

    Raises:
        UsageError: Options of a tracker that the run does not have.
    """
    from localrules.config.settings import merge_settings

    moved, whole = sorted(named & settings.tree.keys()), settings.get("trackers", default={})
    long = [("trackers", name) for name in whole] if isinstance(whole, dict) else []
    for place in [(name,) for name in moved] + long:
        name = place[-1]
        if name not in on:
            raise UsageError(
                f"tracker {name!r} is given options and is not on",
                where=settings.source_of(*place),
                why="an option alone does not start a tracker",
                fix=f"add {'--wandb auto' if name == 'wandb' else f'--track {name}'}",
            )
    return merge_settings(settings.without(*moved), *(settings.sub(name).under("trackers", name) for name in moved))


def fill_defaults(settings: Settings, registry: Registry, workers: int = 1) -> tuple[Settings, list[str]]:
    """Fill in what has a default that depends on the machine.

    Args:
        settings: What is given.
        registry: Where names are looked up.
        workers: How many such runs share the machine.

    Returns:
        The settings, and in lines what the user should know of them.

    Raises:
        UsageError: A file is named for data that are not read from one.
    """
    from localrules.config.settings import Settings, merge_settings
    from localrules.engine.device import machine_defaults

    defaults: Tree = {**machine_defaults(settings, workers)}
    lines = []
    path = settings.get("data", "path")
    if settings.get("data", "name") is None:
        defaults["data"], line = default_dataset(path, registry)
        lines.append(line)
    if settings.get("model", "name") is None:
        defaults["model"] = {"name": default_entries("model", registry)[0].name}
    filled = merge_settings(Settings.from_tree(defaults, "default"), settings)
    name = filled.get("data", "name")
    if path is not None and "path" not in registry.resolve("data", name).Config.model_fields:
        raise UsageError(
            f"{name} is not read from a file", where=settings.source_of("data", "path"), fix="leave out --data-path"
        )
    if settings.get("data", "download") and "download" not in registry.resolve("data", name).Config.model_fields:
        raise UsageError(
            f"{name} cannot be downloaded",
            where=settings.source_of("data", "download"),
            why="it comes from files of yours, or is made on the spot",
            fix="leave it out",
        )
    return filled, lines


def default_entries(kind: Literal["data", "model"], registry: Registry) -> list[Any]:
    """The entries that may be used where none is named, the highest priority first.

    Raises:
        UsageError: There is none.
    """
    ranked = registry.defaults(kind)
    if not ranked:
        raise UsageError(
            f"no {kind} is named",
            where=f"--{kind}",
            why="no installed plugin declares a default",
            fix=f"name one: --{kind} NAME",
        )
    return ranked


def default_dataset(path: str | Path | None, registry: Registry) -> tuple[Tree, str]:
    """The data set where none is named: the first by priority that reads a file and has one, or that needs none.

    Args:
        path: The data set's file where the user names it, of the first by priority that reads one.
        registry: Where data sets are looked up.

    Returns:
        Its settings, and a line that says what was chosen.

    Raises:
        UsageError: No data set with a priority is found.
    """
    absent: list[str] = []
    for entry in default_entries("data", registry):
        source = registry.resolve("data", entry.name)
        if "path" not in source.Config.model_fields:
            if path:
                continue
            missing = f"; {', '.join(absent)} was not found (--data-path FILE)" if absent else ""
            return {"name": entry.name}, f"Data: {entry.name}, built-in{missing}"
        if found := path or source.find():
            return {"name": entry.name, "path": str(found)}, f"Data: {entry.name}, found at {found}"
        absent.append(entry.name)
    raise UsageError(
        "no data set is named",
        where="--data",
        why=f"no default data set was found on this machine: {', '.join(absent)}" if absent else "none reads a file",
        fix="name one: --data NAME",
    )


def default_model(settings: Tree, registry: Registry) -> tuple[Tree, str]:
    """The network where none is named; on a CPU, the first by priority that suits one. And a line that says so."""
    import torch

    ranked = default_entries("model", registry)
    first = ranked[0].name
    device = settings.get("device", "auto")
    if device not in ("auto", "cpu") or (device == "auto" and torch.cuda.is_available()):
        return {"name": first}, f"Network: {first}"
    name = next((entry.name for entry in ranked if entry.suits_cpu), first)
    larger = f", for a CPU; on a GPU it is {first} (--model {first})" if name != first else ""
    return {"name": name}, f"Network: {name}{larger}"
