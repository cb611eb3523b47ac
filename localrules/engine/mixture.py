"""Several rules in one network: each hidden layer learns by the first rule whose pattern fits its name."""

from __future__ import annotations

from collections.abc import Sequence

from localrules.core.objective import InputTransform, Objective
from localrules.engine.patterns import first_match
from localrules.engine.resolved_run import RulePart
from localrules.errors import UsageError


def part_index(parts: Sequence[RulePart], layer: str) -> int:
    """Which of the parts a layer learns by; the last one where no pattern fits."""
    found = first_match([part.pattern for part in parts], layer)
    return len(parts) - 1 if found is None else found


def check_patterns_used(parts: Sequence[RulePart], layers: Sequence[str]) -> None:
    """Raises UsageError for a pattern of a mixture that fits no layer, or finds all of its layers taken."""
    used = {part_index(parts, layer) for layer in layers}
    for index, part in enumerate(parts):
        if len(parts) > 1 and index not in used:
            raise UsageError(
                f"no layer is left for {part.pattern!r}={part.name!r}",
                where="--rule",
                why=f"layers learn by the first pattern that fits; these are: {', '.join(layers)}",
                fix="mend the pattern, or put it before the one that takes its layers",
            )


def check_mixable(classes: Sequence[type[Objective]]) -> None:
    """Raises UsageError for an objective that needs a network of its own."""
    for cls in classes:
        if not cls.info.trains_readout or issubclass(cls, InputTransform):
            raise UsageError(
                f"{cls.__name__} cannot share a network with other rules",
                where="--rule",
                why="it changes the network's inputs, or predicts on its own",
                fix="use it for all layers, or leave it out of the mixture",
            )
