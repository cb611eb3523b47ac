"""The search space of a sweep: which settings vary, and between which values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from localrules.config.overrides import parse_override, parse_toml
from localrules.config.settings import read_text
from localrules.core.search_space import SearchChoice, SearchRange, SearchValues, learning_rates
from localrules.errors import UsageError

Space = dict[str, SearchValues]
"""Values to try by dotted name of a setting, e.g. ``rule.beta``."""

HELD_OUT = 0.1
"""The fraction of the training split that trials are scored on, unless the settings say otherwise (ours)."""

_KINDS = ("log", "int")
_FORM = "e.g. --param rule.beta=1..1000:log, --param optimizer.name=adam,muon or --param model.blocks=1..4:int"
_TABLE = {"low", "high", "log", "integer"}


def default_space(options: Mapping[str, SearchValues], lr: float) -> Space:
    """The space where a user gives none: what the rule declares, and the learning rate around its own."""
    return {f"rule.{name}": values for name, values in options.items()} | {"optimizer.lr": learning_rates(lr)}


def parse_params(words: Sequence[str]) -> Space:
    """The space of ``NAME=LOW..HIGH[:log][:int]`` and ``NAME=A,B,C`` words.

    Raises:
        UsageError: A word is neither, or a name is given twice.
    """
    found: Space = {}
    for word in words:
        name, equals, text = word.partition("=")
        where = f"--param {word}"
        if not equals or not all(name.split(".")):
            raise UsageError(f"{word!r} is not a parameter", where=where, why="one is NAME=VALUES", fix=_FORM)
        if name in found:
            raise UsageError(f"{name} is given twice", where=where, fix="leave one out")
        found[name] = _parse_values(text, where)
    return found


def read_space(path: Path) -> Space:
    """The space of a TOML file: tables with ``low`` and ``high``, and lists.

    Raises:
        UsageError: The file cannot be read, or a value is neither.
    """
    tree = parse_toml(read_text(path, "the search values"), "the search space", str(path))
    found: Space = {}
    for name, value in _entries(tree):
        where = f"{path}: {name}"
        if isinstance(value, list):
            found[name] = _choice(value, where)
        elif isinstance(value, Mapping) and {"low", "high"} <= set(value) <= _TABLE:
            found[name] = _range(where, **value)
        else:
            raise UsageError(
                f"{name} is neither a range nor a list",
                where=where,
                fix="e.g. rule.beta = {low = 1, high = 1000, log = true}, or optimizer.name = ['adam', 'muon']",
            )
    if not found:
        raise UsageError("the search space is empty", where=str(path), fix="name at least one setting")
    return found


def _entries(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted names with lists and range tables; any other table is one of names."""
    found: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and not {"low", "high"} & set(value):
            found += _entries(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", value))
    return found


def _parse_values(text: str, where: str) -> SearchValues:
    if ".." not in text:
        return _choice([parse_override(f"x={part}")[1] for part in text.split(",")], where)
    bounds, *kinds = text.split(":")
    low, _, high = bounds.partition("..")
    if unknown := [kind for kind in kinds if kind not in _KINDS]:
        raise UsageError(
            f"{unknown[0]!r} is not a kind of range", where=where, why="the kinds are log and int", fix=_FORM
        )
    return _range(where, _number(low, where), _number(high, where), "log" in kinds, "int" in kinds)


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a number", where=where, fix=_FORM) from None


def _range(where: str, low: Any, high: Any, log: Any = False, integer: Any = False) -> SearchRange:
    try:
        whole = bool(integer) or (isinstance(low, int) and isinstance(high, int) and not log)
        return SearchRange(float(low), float(high), log=bool(log), integer=whole)
    except (TypeError, ValueError) as error:
        raise UsageError("the range cannot be searched", where=where, why=str(error), fix=_FORM) from None


def _choice(values: list[Any], where: str) -> SearchChoice:
    try:
        return SearchChoice(tuple(values))
    except ValueError as error:
        raise UsageError("there is nothing to choose from", where=where, why=str(error), fix=_FORM) from None


def encode(value: Any) -> str:
    """A choice as text, since a study keeps only plain values."""
    return json.dumps(value)


def decode(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial by dotted name."""
    chosen = {name for name, values in space.items() if isinstance(values, SearchChoice)}
    return {name: json.loads(value) if name in chosen else value for name, value in params.items()}


def space_document(space: Space) -> dict[str, Any]:
    """The space as plain values, to compare it with that of an earlier command."""
    return {
        name: list(values.values)
        if isinstance(values, SearchChoice)
        else {"low": values.low, "high": values.high, "log": values.log, "integer": values.integer}
        for name, values in space.items()
    }
