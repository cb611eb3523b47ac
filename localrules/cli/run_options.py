"""What a command line asks for: a file of settings, then ``--set``, then the flags; and what the machine decides."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localrules.errors import UsageError

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

Tree = dict[str, Any]


def parse_granularity(text: str | None) -> int | str | None:
    """The value of ``--granularity``: ``layer``, ``block``, or a number of parts."""
    return int(text) if text and text.isdigit() else text


def collect_settings(
    flags: Tree, overrides: list[str], file: Path | None, track: list[str], registry: Registry
) -> Tree:
    """The settings that a user typed.

    Args:
        flags: The flags by dotted name; ``None`` where a flag was left out.
        overrides: What ``--set`` was given.
        file: What ``--config`` was given.
        track: What ``--track`` was given.
        registry: Where trackers are looked up.

    Raises:
        UsageError: What was typed is no setting, or does not go together.
    """
    from localrules.config.overrides import expand_names, merge, parse_overrides, read_file

    if flags["steps"] is not None and flags["epochs"] is not None:
        raise UsageError("--steps and --epochs are both given", where="localrules run", fix="leave out one of them")
    below, asked = expand_names(read_file(file) if file else {}), expand_names(parse_overrides(overrides))
    tree: Tree = {}
    for dotted, value in flags.items():
        if value is not None:
            *tables, last = dotted.split(".")
            here = tree
            for table in tables:
                here = here.setdefault(table, {})
            here[last] = value
    for name in track:
        tree.setdefault("trackers", {}).setdefault(name, {})
    # What was typed belongs together: an option by --set is of the name that a flag gives, not of the file's.
    typed = merge(_with_trackers(asked, [below, asked, tree], registry), tree)
    return merge(below, typed)


def _with_trackers(asked: Tree, trees: list[Tree], registry: Registry) -> Tree:
    """Move ``--set wandb.media=true`` to where the configuration keeps it; an option alone turns no tracker on."""
    on = {name for tree in trees for name in tree.get("trackers", {})}
    named = {item.entry.name for item in registry.entries("tracker")} & asked.keys()
    for name in sorted(named - on):
        flag = "--wandb auto" if name == "wandb" else f"--track {name}"
        raise UsageError(
            f"tracker {name!r} is given options and is not on",
            where=f"--set {name}....",
            why="an option alone does not start a tracker",
            fix=f"add {flag}",
        )
    rest = {key: value for key, value in asked.items() if key not in named}
    return {**rest, "trackers": {**asked.get("trackers", {}), **{name: asked[name] for name in named}}}


def fill_defaults(settings: Tree, registry: Registry) -> list[str]:
    """Fill in what has a default that depends on the machine.

    Returns:
        What the user should know of it, in lines.

    Raises:
        UsageError: No rule is named, or a file for data that are not read from one.
    """
    from localrules.engine.device import default_threads

    if "name" not in settings.setdefault("rule", {}):
        raise UsageError(
            "no rule is named",
            where="localrules run",
            why="there is no default: the rule is the point",
            fix="--rule hsic",
        )
    if "name" not in settings.setdefault("model", {}):
        settings["model"]["name"] = default_entries("model", registry)[0].name
    settings.setdefault("threads", default_threads(settings.get("parallel_layers", 1)))
    data = settings.setdefault("data", {})
    said = []
    if "name" not in data:
        found, line = default_dataset(data.get("path"), registry)
        data |= found
        said.append(line)
    if "path" in data and "path" not in registry.resolve("data", data["name"]).Config.model_fields:
        raise UsageError(
            f"{data['name']} is not read from a file", where=f"--data-path {data['path']}", fix="leave out --data-path"
        )
    return said


def default_entries(kind: Literal["data", "model"], registry: Registry) -> list[Any]:
    """The entries that may be used where none is named, the highest priority first.

    Raises:
        UsageError: There is none.
    """
    usable = [item.entry for item in registry.entries(kind) if item.status == "ok"]
    ranked = [entry for entry in usable if getattr(entry, "default_priority", None) is not None]
    if not ranked:
        raise UsageError(
            f"no {kind} is named",
            where=f"--{kind}",
            why="no installed plugin declares a default",
            fix=f"name one: --{kind} NAME",
        )
    return sorted(ranked, key=lambda entry: -entry.default_priority)


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
