"""Trees of settings: merging them, and reading and writing them as ``a.b=value``."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any

from localrules.errors import UsageError

Tree = dict[str, Any]

COMPONENTS = ("rule", "model", "data")
"""Tables of settings that are a plugin's name and options."""


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Tree:
    """``above`` laid over ``below``, table by table. A length in steps replaces one in epochs, and the reverse.

    A rule, model or data set of another name does not inherit the options of the one below. Keys of ``above`` come
    first: where a table has patterns of which the first that fits counts, they are laid over those below.
    """
    return _merge(below, above, is_component=False)


def _merge(below: Mapping[str, Any], above: Mapping[str, Any], *, is_component: bool) -> Tree:
    if is_component and "name" in above and "name" in below and above["name"] != below["name"]:
        return dict(above)
    result = dict(below)
    for one, other in (("steps", "epochs"), ("epochs", "steps")):
        if above.get(one) is not None and above.get(other) is None and result.get(other) is not None:
            result[other] = None
    for key, value in above.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            # Within a component, too: a mixture has the name and the options of each of its rules.
            value = _merge(old, value, is_component=is_component or key in COMPONENTS)
        result[key] = value
    return {**{key: result[key] for key in above}, **result}


def nest(flat: Mapping[str, Any]) -> Tree:
    """The tree that dotted names make: ``{"rule.beta": 1}`` becomes ``{"rule": {"beta": 1}}``.

    Raises:
        UsageError: One name holds a value where another needs a table.
    """
    tree: Tree = {}
    for dotted, value in flat.items():
        *tables, last = dotted.split(".")
        here = tree
        for name in tables:
            here = here.setdefault(name, {})
            if not isinstance(here, dict):
                raise _value_and_table(name, dotted)
        if isinstance(here.get(last), dict):
            raise _value_and_table(last, dotted)
        here[last] = value
    return tree


def _value_and_table(name: str, dotted: str) -> UsageError:
    where = f"--set {dotted}=..."
    return UsageError(f"{name!r} is given a value and a table", where=where, fix="drop one of the two")


def parse_overrides(words: Iterable[str]) -> Tree:
    """The tree that ``a.b=value`` words spell. Values are TOML; what is not TOML is text.

    Raises:
        UsageError: A word without ``=``, or one that puts a value where another puts a table.
    """
    return nest(dict(parse_override(word) for word in words))


def parse_override(word: str) -> tuple[str, Any]:
    """The dotted name and the value of ``a.b=value``.

    Raises:
        UsageError: A word without ``=``.
    """
    dotted, equals, text = word.partition("=")
    if not equals or not all(dotted.split(".")):
        raise UsageError(
            f"{word!r} is not a setting", where="--set", why="a setting is NAME=VALUE", fix="e.g. --set rule.beta=100"
        )
    return dotted, _parse_value(text)


def format_overrides(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The words ``a.b=value`` that :func:`parse_overrides` reads back as this tree."""
    words: list[str] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            words += format_overrides(value, f"{prefix}{key}.")
        else:
            bare = isinstance(value, str) and _parse_value(value) == value
            words.append(f"{prefix}{key}={value if bare else json.dumps(value)}")
    return words


MOST_NESTED = 100
"""Tables within tables of a file."""


def parse_toml(text: str, what: str, where: str) -> Tree:
    """The tree of a TOML text.

    Args:
        text: The content of a file; a byte order mark is left out.
        what: A name for it in messages.
        where: The file.

    Raises:
        UsageError: It is not TOML, or nests too deeply.
    """
    try:
        tree = tomllib.loads(text.removeprefix("\ufeff"))
        _check_depth(tree, MOST_NESTED)
    except RecursionError:
        why, fix = f"its tables nest deeper than {MOST_NESTED}", "write it as `localrules run` writes config.toml"
    except ValueError as error:  # of tomllib, or a number of thousands of digits
        why, fix = str(error), "mend the file"
    else:
        return tree
    raise UsageError(f"{what} cannot be read as TOML", where=where, why=why, fix=fix)


def _check_depth(tree: Any, left: int) -> None:
    if not left:
        raise RecursionError
    for item in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(item, dict | list):
            _check_depth(item, left - 1)


def _parse_value(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
        return table["value"] if len(table) == 1 else text  # lines below would be settings of their own
    except tomllib.TOMLDecodeError:
        return text
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, or lists in lists in lists
        raise UsageError(
            "a setting has a value that cannot be read",
            where=f"--set, at {text[:20]}... of {len(text):,} characters",
            why=str(error).partition(";")[0] if isinstance(error, ValueError) else "it nests too deeply",
            fix="give a value of a sensible size",
        ) from error


RUN_METADATA = ("environment", "trained_on")
"""Tables that a run adds to its ``config.toml``: what it found, not what it was asked for."""


def diff(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The differences of two trees, one line each: ``rule.beta: 100 in the run, 10 asked for``."""
    lines: list[str] = []
    for key in sorted({*before, *after}):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            lines += diff(old, new, f"{prefix}{key}.")
        elif old != new:
            lines.append(f"{prefix}{key}: {old!r} in the run, {new!r} now")
    return lines
