"""A mixture of rules: which rule trains which layers, as the user writes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from localrules.errors import UsageError

MIXED = "mixed"
"""The name of a mixture; its table ``layers`` lists the parts."""


class MixturePart(NamedTuple):
    """One rule of a mixture, or the only rule of a run.

    Attributes:
        pattern: Which layers it trains; ``*`` for all.
        name: The rule's name.
        location: Where its table is in the settings, e.g. ``("rule", "layers", 0)``.
    """

    pattern: str
    name: str
    location: tuple[str | int, ...]


def expand_mixture(text: str, where: str) -> list[dict[str, str]]:
    """The parts of ``"blocks.0.*=softhebb,*=hsic"``, each with ``layers`` and ``name``.

    Raises:
        UsageError: A part without a pattern or without a name.
    """
    layers = []
    for part in text.split(","):
        pattern, equals, name = (word.strip() for word in part.partition("="))
        if not (pattern and equals and name):
            raise UsageError(
                f"{part!r} does not say which layers learn by which rule",
                where=where,
                why="a mixture is a list of PATTERN=RULE",
                fix="e.g. --rule 'blocks.0.*=softhebb,*=hsic'",
            )
        layers.append({"layers": pattern, "name": name})
    return layers


def mixture_parts(rule: Mapping[str, Any], where: str = "rule.layers") -> tuple[MixturePart, ...]:
    """The parts of a rule's table; a rule that is not a mixture is one part that trains all layers.

    Raises:
        UsageError: A mixture whose ``layers`` is not a list of tables with ``layers`` and ``name``, or options that
            belong to no part.
    """
    if rule["name"] != MIXED:
        return (MixturePart("*", str(rule["name"]), ("rule",)),)
    tables = rule.get("layers")
    if not (isinstance(tables, list | tuple) and tables) or not all(
        isinstance(table, Mapping) and {"layers", "name"} <= set(table) for table in tables
    ):
        raise UsageError(
            "a mixture of rules needs its parts",
            where=where,
            why="each part is a table with the layers (a pattern) and the rule's name",
            fix="e.g. --rule 'blocks.0.*=softhebb,*=hsic', or [[rule.layers]] tables in the file",
        )
    if extra := sorted(set(rule) - {"name", "layers"}):
        raise UsageError(
            f"there is no option 'rule.{extra[0]}' of a mixture",
            where=where,
            why="each of its rules has options of its own",
            fix="put the option into the rule's [[rule.layers]] table in a file",
        )
    return tuple(
        MixturePart(str(table["layers"]), str(table["name"]), ("rule", "layers", index))
        for index, table in enumerate(tables)
    )
