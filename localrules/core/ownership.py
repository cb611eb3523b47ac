"""Every trainable parameter has exactly one owner."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from localrules.core.layer import Layer
from localrules.errors import UsageError


def check_ownership(model: nn.Module, layers: Sequence[Layer]) -> None:
    """Raises UsageError naming each trainable parameter that no layer owns, or that two layers own."""
    owners: dict[int, list[str]] = {}
    for layer in layers:
        for parameter in layer.parameters():
            owners.setdefault(id(parameter), []).append(layer.name)
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    orphans = [name for name, parameter in named if id(parameter) not in owners]
    if orphans:
        raise UsageError(
            f"{len(orphans)} trainable parameter(s) belong to no layer: {', '.join(orphans)}",
            where=f"the layers of {type(model).__name__}: {', '.join(layer.name for layer in layers)}",
            why="what no layer owns would never learn",
            fix="mark the module that holds it as a layer, put it into one, or freeze it with requires_grad_(False)",
        )
    shared = {name: owners[id(parameter)] for name, parameter in named if len(owners[id(parameter)]) > 1}
    if shared:
        name, both = next(iter(shared.items()))
        raise UsageError(
            f"parameter {name!r} belongs to {len(both)} layers: {', '.join(both)}",
            where=f"the layers of {type(model).__name__}",
            why="each parameter must have one owner, or two objectives would pull at it",
            fix="untie the weights, or mark a larger part that holds all its uses as one layer",
        )
