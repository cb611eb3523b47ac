"""Several rules in one network: each hidden layer learns by the first rule whose pattern fits its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localrules.config.schema import ComponentConfig
from localrules.engine.patterns import first_match
from localrules.errors import UsageError

MIXED = "mixed"
"""The name of the rule that is several; its option ``layers`` lists them."""


def parse_mixture(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with ``rule.name = "blocks.0.*=softhebb,blocks.*=hsic"`` as a table of rules.

    Raises:
        UsageError: A part without a pattern or without a name.
    """
    rule = settings.get("rule", {})
    if "=" not in rule.get("name", ""):
        return dict(settings)
    layers = []
    for part in rule["name"].split(","):
        pattern, equals, name = (word.strip() for word in part.partition("="))
        if not (pattern and equals and name):
            raise UsageError(
                f"{part!r} does not say which layers learn by which rule",
                where=f"--rule {rule['name']!r}",
                why="a mixture is a list of PATTERN=RULE",
                fix="e.g. --rule 'blocks.0.*=softhebb,*=hsic'",
            )
        layers.append({"layers": pattern, "name": name})
    rest = {key: value for key, value in rule.items() if key != "name"}
    return {**settings, "rule": {"name": MIXED, "layers": layers, **rest}}


def mixture_parts(rule: ComponentConfig) -> list[tuple[str, ComponentConfig]]:
    """Each pattern and its rule; one that fits every layer where the rule is no mixture.

    Raises:
        UsageError: A mixture whose ``layers`` are no list of tables with ``layers`` and ``name``.
    """
    if rule.name != MIXED:
        return [("*", rule)]
    given = rule.options.get("layers")
    if not isinstance(given, list | tuple) or not given:
        raise _malformed_mixture()
    found = []
    for table in given:
        if not isinstance(table, Mapping) or not {"layers", "name"} <= set(table):
            raise _malformed_mixture()
        found.append(
            (str(table["layers"]), ComponentConfig(**{key: value for key, value in table.items() if key != "layers"}))
        )
    return found


def replace_parts(rule: ComponentConfig, parts: list[ComponentConfig]) -> ComponentConfig:
    """The rule with its parts replaced, in the order of :func:`choices`."""
    if rule.name != MIXED:
        return parts[0]
    layers = [
        {"layers": pattern, "name": part.name, **part.options}
        for (pattern, _), part in zip(mixture_parts(rule), parts, strict=True)
    ]
    return ComponentConfig(name=MIXED, layers=layers)


def part_index(rule: ComponentConfig, layer: str) -> int:
    """Which of :func:`choices` a layer learns by; the last one where no pattern fits."""
    given = [pattern for pattern, _ in mixture_parts(rule)]
    fits = first_match(given, layer)
    return len(given) - 1 if fits is None else fits


def check_patterns_used(rule: ComponentConfig, layers: list[str]) -> None:
    """Raises UsageError for a pattern of a mixture that fits no layer, or finds all of its layers taken."""
    if rule.name != MIXED:
        return
    used = {part_index(rule, layer) for layer in layers}
    for index, (pattern, part) in enumerate(mixture_parts(rule)):
        if index not in used:
            raise UsageError(
                f"no layer is left for {pattern!r}={part.name!r}",
                where="--rule",
                why=f"layers learn by the first pattern that fits; these are: {', '.join(layers)}",
                fix="mend the pattern, or put it before the one that takes its layers",
            )


def _malformed_mixture() -> UsageError:
    return UsageError(
        "a mixture of rules needs its parts",
        where="rule.layers",
        why="each part is a table with the layers (a pattern) and the rule's name",
        fix="e.g. --rule 'blocks.0.*=softhebb,*=hsic', or [[rule.layers]] tables in the file",
    )
