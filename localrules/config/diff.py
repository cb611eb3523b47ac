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
    """The settings as if one process trained all layers, where several divide them: the result is the same."""
    found = {key: value for key, value in settings.items() if key != "parallel"}
    return found | {"devices": 1} if settings.get("parallel") == "layers" else found


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
