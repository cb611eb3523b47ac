"""Specification of a model's layers by names and patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import groupby

from torch import nn

from localrules.core.layer import Layer
from localrules.errors import UsageError, suggest_names


@dataclass(frozen=True)
class LayerSpec:
    """Names of modules, or patterns in which ``*`` stands for one part of a dotted name.

    Attributes:
        layers: Modules that are layers at granularity ``layer``: one weight-bearing operation each, with what follows.
        blocks: Modules that are layers at granularity ``block``; where several together are one, a tuple of them.
        readout: The module on top, trained by cross-entropy.
        pool_size: For some of them, the grid at which their readers see them, see :class:`~localrules.Layer`.
    """

    layers: Sequence[str]
    blocks: Sequence[str | tuple[str, ...]] = ()
    readout: str = ""
    pool_size: Mapping[str, int] = field(default_factory=dict)


def matches(name: str, pattern: str) -> bool:
    """Whether a dotted name fits a pattern part by part: ``blocks.*`` fits ``blocks.0`` but not ``blocks.0.convs``."""
    parts, wanted = name.split("."), pattern.split(".")
    return len(parts) == len(wanted) and all(fnmatchcase(*pair) for pair in zip(parts, wanted, strict=True))


def block_indices(units: Sequence[str], blocks: Sequence[str | tuple[str, ...]], model: str) -> list[int]:
    """Which block each unit lies in.

    Args:
        units: Names of modules in the order in which they run.
        blocks: As :class:`LayerSpec` has them.
        model: The model's name, for errors.

    Returns:
        The number of each unit's block, from 0 in the order in which blocks run.

    Raises:
        UsageError: A unit lies in no block, or a block's units do not run one after the other.
    """
    found = [_block_of(unit, blocks, model) for unit in units]
    runs = [block for block, _ in groupby(found)]
    for block in runs:
        if runs.count(block) > 1:
            raise UsageError(
                f"the modules of block {blocks[block]!r} do not run one after the other",
                where=f"the blocks of {model}",
                why="modules of another block run between them",
                fix="put modules into one block that follow each other in forward",
            )
    return [runs.index(block) for block in found]


def _block_of(unit: str, blocks: Sequence[str | tuple[str, ...]], model: str) -> int:
    """The block of which a module is a part, or inside a part."""
    parts = unit.split(".")
    for index, block in enumerate(blocks):
        for pattern in (block,) if isinstance(block, str) else block:
            if matches(".".join(parts[: pattern.count(".") + 1]), pattern):
                return index
    raise UsageError(
        f"{unit!r} lies in no block",
        where=f"the blocks of {model}",
        why="every layer must have a place at granularity 'block', too",
        fix="name it, or the module in which it lies, in one of them",
    )


def layers_from_spec(
    model: nn.Module, patterns: Sequence[str], readout: str, pool_size: Mapping[str, int]
) -> list[Layer]:
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
                fix=suggest_names(pattern, names),
            )
    chosen = [name for name in names if any(matches(name, pattern) for pattern in wanted)]
    _refuse_nested(chosen, type(model).__name__)
    if not readout:
        readout = chosen[-1]
    if readout not in chosen:
        raise UsageError(
            f"the readout {readout!r} is none of the layers",
            where=f"readout={readout!r}",
            why=f"the layers are {', '.join(chosen)}; a readout is named as it is, not by a pattern",
            fix=suggest_names(readout, chosen),
        )
    chosen.sort(key=lambda name: name == readout)
    grid_of = {name: grid for name in chosen for pattern, grid in pool_size.items() if matches(name, pattern)}
    return [
        Layer(name, model.get_submodule(name), is_readout=name == readout, pool_size=grid_of.get(name), index=index)
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
