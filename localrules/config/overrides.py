"""Layers of settings: defaults, the rule's own, a preset, a file, the command line. The later word wins."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from localrules.errors import UsageError

Tree = dict[str, Any]


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Tree:
    """``above`` laid over ``below``, table by table. A length in steps replaces one in epochs, and the reverse.

    A rule, model or data set of another name does not inherit the options of the one below.
    """
    if "name" in above and "name" in below and above["name"] != below["name"]:
        return dict(above)
    result = dict(below)
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if above.get(one) is not None and above.get(other) is None:
            result[other] = None
    for key, value in above.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(value, Mapping) and isinstance(old, Mapping) else value
    return result


def parse_overrides(words: Iterable[str]) -> Tree:
    """The tree that ``a.b=value`` words spell. Values are TOML; what is no TOML is text.

    Raises:
        UsageError: A word without ``=``, or one that puts a value where another puts a table.
    """
    tree: Tree = {}
    for word in words:
        dotted, equals, text = word.partition("=")
        if not equals or not all(dotted.split(".")):
            raise UsageError(
                f"{word!r} is no setting", where="--set", why="a setting is NAME=VALUE", fix="e.g. --set rule.beta=100"
            )
        *tables, last = dotted.split(".")
        here = tree
        for name in tables:
            here = here.setdefault(name, {})
            if not isinstance(here, dict):
                raise UsageError(
                    f"{name!r} is given a value and a table", where=f"--set {word}", fix="drop one of the two"
                )
        here[last] = _parse_value(text)
    return tree


def format_overrides(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The words ``a.b=value`` that :func:`assigned` reads back as this tree."""
    words: list[str] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            words += format_overrides(value, f"{prefix}{key}.")
        else:
            bare = isinstance(value, str) and _parse_value(value) == value
            words.append(f"{prefix}{key}={value if bare else json.dumps(value)}")
    return words


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def expand_names(tree: Tree) -> Tree:
    """The tree with ``rule = "hsic"`` spelt out as a table with a name; likewise models and data sets.

    Raises:
        UsageError: Something else stands where a table is expected.
    """
    named = {key: {"name": tree[key]} for key in ("rule", "model", "data") if isinstance(tree.get(key), str)}
    tree = {**tree, **named}
    for key in ("rule", "model", "data", "trackers"):
        if not isinstance(tree.get(key, {}), dict):
            raise UsageError(f"{key!r} is a table, not {tree[key]!r}", where=key, fix=f"e.g. --set {key}.NAME=...")
    return tree


def read_file(path: Path) -> Tree:
    """Settings from a TOML file; a run's own ``config.toml`` is one.

    Raises:
        UsageError: The file is missing or no TOML.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError("the settings cannot be read", where=str(path), why=error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError("the settings are no TOML", where=str(path), why=str(error), fix="mend the file") from error
    for recorded in RUN_METADATA:
        tree.pop(recorded, None)
    return tree


RUN_METADATA = ("environment", "trained_on")
"""Tables that a run adds to its ``config.toml``: what it found, not what it was asked for."""


def diff(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two trees, one line each: ``rule.beta: 100 in the run, 10 asked for``."""
    lines: list[str] = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += diff(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} in the run, {new!r} now")
    return lines
