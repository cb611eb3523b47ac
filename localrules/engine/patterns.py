"""Layers by pattern; ``*`` stands for anything, dots included: ``blocks.0.*`` fits ``blocks.0.convs.1``."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from localrules.errors import UsageError, suggest_names


def first_match(patterns: Sequence[str], layer: str) -> int | None:
    """The place of the first pattern that fits the layer's name."""
    return next((index for index, pattern in enumerate(patterns) if fnmatchcase(layer, pattern)), None)


def check_patterns_used(patterns: Sequence[str], layers: Sequence[str], where: str) -> None:
    """Raises UsageError for a pattern that fits no layer."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise UsageError(
                f"no layer is called {pattern!r}",
                where=where,
                why=f"the layers are {', '.join(layers)}",
                fix=suggest_names(pattern, list(layers)),
            )
