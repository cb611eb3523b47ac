"""How a model says which of its modules are layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from torch import nn

from localrules.core.layer import Layer
from localrules.errors import UsageError, nearest


@dataclass(frozen=True)
class Marks:
    """Names of modules, or patterns in which ``*`` stands for one part of a dotted name.

    Attributes:
        layers: Modules that are layers at granularity ``layer``: one weight-bearing operation each, with what follows.
        blocks: Modules that are layers at granularity ``block``.
        readout: The module on top, trained by cross-entropy.
        seen_at: For some of them, the grid at which their readers see them, see :class:`~localrules.Layer`.
    """

    layers: Sequence[str]
    blocks: Sequence[str] = ()
    readout: str = ""
    seen_at: Mapping[str, int] = field(default_factory=dict)


def matches(name: str, pattern: str) -> bool:
    """Whether a dotted name fits a pattern part by part: ``blocks.*`` fits ``blocks.0`` but not ``blocks.0.convs``."""
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(fnmatchcase(*pair) for pair in zip(parts, wanted, strict=True))


def marked_layers(model: nn.Module, patterns: Sequence[str], readout: str, seen_at: Mapping[str, int]) -> list[Layer]:
    """The layers of a model, in the order in which it defines them, the readout last.

    Raises:
        UsageError: A pattern that fits no module, or a layer that lies inside another.
    """
    names = [name for name, _ in model.named_modules() if name]
    wanted = [*patterns, *([readout] if readout else [])]
    if not wanted:
        raise UsageError(
            "the list of layers is empty",
            where=f"the layers of {type(model).__name__}",
            fix="name some modules, or leave layers out to have the graph traced",
        )
    for pattern in wanted:
        if not any(matches(name, pattern) for name in names):
            raise UsageError(
                f"no module is called {pattern!r}",
                where=f"the layers of {type(model).__name__}",
                why="every layer must name a module of the network, or a pattern that fits some",
                fix=nearest(pattern, names),
            )
    chosen = [name for name in names if any(matches(name, pattern) for pattern in wanted)]
    _refuse_nested(chosen, type(model).__name__)
    if not readout:
        readout = chosen[-1]
    chosen.sort(key=lambda name: name == readout)
    grid_of = {name: grid for name in chosen for pattern, grid in seen_at.items() if matches(name, pattern)}
    return [
        Layer(name, model.get_submodule(name), is_readout=name == readout, seen_at=grid_of.get(name), index=index)
        for index, name in enumerate(chosen)
    ]


def _refuse_nested(names: list[str], model: str) -> None:
    for outer in names:
        for inner in names:
            if inner.startswith(outer + "."):
                raise UsageError(
                    f"layer {inner!r} lies inside layer {outer!r}",
                    where=f"the layers of {model}",
                    why="each parameter must have one owner",
                    fix="name one of the two",
                )
