"""In which settings runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from localrules.config.overrides import Tree

INCIDENTAL = (
    "seed",
    "trackers",
    "log_every",
    "checkpoint_every",
    "eval_batch_size",
    "diagnostics",
    "plots",
    "parallel_layers",
    "process_timeout",
)
"""Settings that change no result, and the seed."""


def without_incidental(settings: Mapping[str, Any]) -> Tree:
    """The settings that runs of one rule share."""
    return {key: value for key, value in without_stages(settings).items() if key not in INCIDENTAL}


def without_stages(settings: Mapping[str, Any]) -> Tree:
    """The settings as if each process trained all layers, where several divide them: the result is the same."""
    return _without_processes(settings) | {"devices": replicas(settings)}


def without_processes(*trees: Mapping[str, Any]) -> list[Tree]:
    """Settings without the processes with which they may be exchanged in a run.

    Where some of them divide the layers, any of the others may continue the run. Otherwise as many processes as before
    divide the batches.
    """
    if any(_divides_layers(tree) for tree in trees):
        return [_without_processes(tree) for tree in trees]
    return [without_stages(tree) for tree in trees]


def replicas(settings: Mapping[str, Any]) -> int:
    """The number of parts that each batch is divided into."""
    devices: int = settings.get("devices", 1)
    return devices // settings.get("stages", devices) if _divides_layers(settings) else devices


def _divides_layers(settings: Mapping[str, Any]) -> bool:
    return settings.get("parallel") == "layers" and settings.get("devices", 1) > 1


def _without_processes(settings: Mapping[str, Any]) -> Tree:
    return {key: value for key, value in settings.items() if key not in ("devices", "parallel", "stages")}


def resumable_settings(settings: Mapping[str, Any]) -> Tree:
    """The settings with which a run must be resumed: those that change no result may be others by then."""
    free = ("process_timeout", "eval_batch_size", "parallel_layers")
    return {key: value for key, value in settings.items() if key not in free}


def identity_settings(settings: Mapping[str, Any]) -> Tree:
    """The same without the place where data lie, for runs whose data are known to be the same by their fingerprint."""
    found = without_incidental(settings)
    return found | {"data": {key: value for key, value in found.get("data", {}).items() if key != "path"}}


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of settings by dotted names."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def differing_settings(trees: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The settings that are not the same everywhere: by dotted name, the value in each tree (``None``: unset)."""
    flats = [flatten(tree) for tree in trees]
    names = dict.fromkeys(name for one in flats for name in one)
    values = {name: [one.get(name) for one in flats] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}
