"""Overlapping windows of layers: how many borders between layers a gradient may cross."""

from __future__ import annotations

import re
from collections.abc import Sequence

from localrules.core.layer import Layer
from localrules.errors import UsageError

Granularity = str | int

WINDOW_PATTERN = r"^window:([2-9]|[1-9][0-9]{1,3})(:(layer|block|[1-9][0-9]{0,5}))?$"
"""``window:K``, or ``window:K:CUT`` with the way in which the network is cut; K counts layers, from 2."""


def split_granularity(granularity: Granularity) -> tuple[Granularity, int]:
    """The way in which a network is cut, and the number of layers in a window: 1 without windows.

    Raises:
        UsageError: It is not ``layer``, ``block``, a whole number from 1, ``window:K`` or ``window:K:CUT``.
    """
    if granularity in ("layer", "block") or (type(granularity) is int and granularity > 0):
        return granularity, 1
    if not isinstance(granularity, str) or not granularity.startswith("window"):
        raise UsageError(
            f"granularity {granularity!r} is not known",
            where="--granularity",
            why="a network is cut by 'layer', by 'block', or into a number of parts",
            fix="choose layer, block, a whole number from 1, or window:K for windows of K layers",
        )
    found = re.match(WINDOW_PATTERN, granularity)
    if found is None:
        raise UsageError(
            f"granularity {granularity!r} is not known",
            where="--granularity",
            why="windows are given by their number of layers, from 2, and by how the network is cut",
            fix="choose for instance window:2, window:3:block or window:2:16",
        )
    size, _, cut = found.groups()
    return (int(cut) if cut and cut.isdigit() else cut or "layer"), int(size)


def check_window(layers: Sequence[Layer], window: int, name: str) -> None:
    """Raises UsageError where a window would hold all hidden layers.

    Args:
        layers: Of a network, the readout last.
        window: Layers in a window.
        name: Of the network, for the message.
    """
    hidden = len(layers) - 1
    if window >= hidden > 0:
        raise UsageError(
            f"{name} has no windows of {window} layers",
            where="--granularity",
            why=f"it is cut into {hidden} hidden layers, and a window that holds them all is the whole network",
            fix=f"choose windows of at most {hidden - 1} layers"
            if hidden > 2
            else "choose a deeper network or a finer cut, or --rule backprop for the whole network",
        )


def layers_in_windows(layers: Sequence[Layer], window: int) -> dict[str, set[str]]:
    """The layers from whose objectives gradients reach a layer: those that read it, across ``window - 1`` borders.

    A border lies between a layer and each of its readers, so in a densely connected block, whose layers read all
    earlier ones, windows of two reach from its last layer to its first.

    Args:
        layers: In forward order, with their readers known, the readout last. It learns from detached features, so it
            is in no window.
        window: Layers in a window, 1 or more.

    Returns:
        For each hidden layer, the names of others; empty for ``window=1``.
    """
    hidden = [layer for layer in layers if not layer.is_readout]
    readers = {layer.name: {other.name for other in hidden if layer.name in other.input_layers} for layer in hidden}
    found: dict[str, set[str]] = {}
    for layer in hidden:
        reached: set[str] = set()
        edge = {layer.name}
        for _ in range(window - 1):
            edge = {reader for name in edge for reader in readers[name]} - reached
            reached |= edge
        found[layer.name] = reached
    return found
