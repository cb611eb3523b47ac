"""The experiments that plugins bring, by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.registry.entries import ExperimentEntry
from localrules.reproduce.league.spec import League
from localrules.reproduce.spec import ALL, REBUILT, Experiment
from localrules.utils.plugin_border import plugin_border, wrong_result

if TYPE_CHECKING:
    from localrules.registry.registry import Registry


def select_experiments(name: str, registry: Registry) -> dict[str, Experiment]:
    """The experiments that a name means: one, all of a suite, or, for ``all``, those of the paper that we rebuild.

    One goes by its name and by other words for it.

    Raises:
        UsageError: There is no experiment and no suite of that name.
        LocalRulesError: One cannot be used.
    """
    usable = [item.entry for item in registry.entries("experiment") if item.status == "ok"]
    wanted = REBUILT if name == ALL else name
    entries = [entry for entry in usable if isinstance(entry, ExperimentEntry)]
    suite = [entry.name for entry in entries if entry.suite == wanted or wanted in entry.aliases]
    built = {one: _build(one, registry) for one in suite or [name]}
    return {one: found for one, found in built.items() if isinstance(found, Experiment)}


def find_league(name: str, registry: Registry) -> League | None:
    """The league of that name; ``None`` if it is the name of something else."""
    known = [item.entry.name for item in registry.entries("experiment") if item.status == "ok"]
    found = _build(name, registry) if name in known else None
    return found if isinstance(found, League) else None


def _build(name: str, registry: Registry) -> Experiment | League:
    function = registry.resolve("experiment", name)
    with plugin_border(function, ""):
        made = function()
    if not isinstance(made, Experiment | League):
        raise wrong_result(
            function, "", "a localrules.reproduce.spec.Experiment", f"an object of type {type(made).__name__}"
        )
    return made


def experiments_in(folder: Path, registry: Registry) -> dict[str, tuple[str, Experiment]]:
    """Summary and content, by name, of the experiments that have a folder in an ``--out``."""
    entries = [item.entry for item in registry.entries("experiment") if item.status == "ok"]
    present = [entry for entry in entries if (folder / entry.name).is_dir()]
    return {
        entry.name: (entry.summary, experiment)
        for entry in present
        if isinstance(experiment := _build(entry.name, registry), Experiment)
    }


def list_experiments(registry: Registry) -> list[dict[str, Any]]:
    """Every word that names experiments, with what it is, as ``reproduce --list --json`` prints it."""
    items = registry.entries("experiment")
    lines = [{**item.as_dict(), "suite": getattr(item.entry, "suite", "")} for item in items]
    for line, item in list(zip(lines, items, strict=True)):
        words = [(word, f"Another word for {item.entry.name}.") for word in getattr(item.entry, "aliases", ())]
        lines += [{**line, "name": word, "summary": summary, "suite": ""} for word, summary in words]
    paper = ", ".join(line["name"] or "" for line in lines if line["suite"] == REBUILT)
    every = dict.fromkeys(lines[0] if lines else (), "") | {
        "name": ALL,
        "summary": f"All of the suite {REBUILT}: {paper}.",
    }
    return [*lines, every | {"status": "ok", "cause": None}]
