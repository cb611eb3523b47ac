"""Stages: the contiguous parts of a network's layers that processes train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from localrules.core.layer import Layer
from localrules.core.partition import partition_balanced

BUSY = "busy/stage"
"""The metric of the fraction of the time in which a stage computes; the stage's number follows."""


@dataclass(frozen=True)
class Stage:
    """A contiguous part of a network's layers, trained by one process.

    Attributes:
        first, last: Its layers' positions in forward order, both included.
        receives: Names of earlier layers whose outputs are read by its layers, or by those of later stages.
        sends: Names of layers, its own or earlier ones, whose outputs are read by layers of later stages.
    """

    first: int
    last: int
    receives: tuple[str, ...]
    sends: tuple[str, ...]


def cut_into_stages(seconds: Mapping[str, float], layers: Sequence[Layer], count: int) -> list[Stage]:
    """Cut layers into stages such that the slowest takes as little time as it can.

    Args:
        seconds: Of one step, by layer name, objective and optimizer included.
        layers: In forward order, the readout last, with their readers known.
        count: Number of stages, at most that of layers.
    """
    microseconds = [max(1, round(1e6 * seconds[layer.name])) for layer in layers]
    groups = partition_balanced(microseconds, count)
    firsts = [groups.index(group) for group in range(count)]
    return [
        Stage(first, end - 1, _crossing(layers, first), _crossing(layers, end))
        for first, end in zip(firsts, [*firsts[1:], len(layers)], strict=True)
    ]


def _crossing(layers: Sequence[Layer], end: int) -> tuple[str, ...]:
    """The layers before a position whose outputs are read at that position or after it."""
    read = {name for layer in layers[end:] for name in layer.input_layers}
    return tuple(layer.name for layer in layers[:end] if layer.name in read)
