"""Whose update depends on whose parameters: measured, not read off the graph.

What autograd says is not proof: a forgotten detach, a shared tensor, something kept for the next step, a hook or a
global all let a layer feel another, and only some of them show in a graph. So a layer's parameters are changed and
training is repeated with the same draws; whatever else then moves by one bit depends on that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from localrules.core.layer import Layer
from localrules.engine.session import Session
from localrules.testing.traces import differ, train_generic, update_differs

Matrix = tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class Dependence:
    """Which layer's update depends on which layer's parameters.

    Attributes:
        layers: Names in forward order, the readout last.
        depends: ``depends[row][column]``: whether the gradients or the change of layer ``row``'s parameters, those of
            its auxiliary modules included, differ by any bit when layer ``column``'s do. The diagonal compares
            gradients.
        buffers: The same for layer ``row``'s buffers (the statistics of batch norms).
        upstream: ``upstream[row][column]``: whether layer ``row`` reads layer ``column``, directly or through others;
            then its update may depend on it.
        steady: Whether training twice from one state gave the same bits. Where it did not, something is kept outside of
            the session (a global), and the matrices say more than there is.
    """

    layers: tuple[str, ...]
    depends: Matrix
    buffers: Matrix
    upstream: Matrix
    steady: bool

    @property
    def leaks(self) -> list[tuple[str, str]]:
        """Pairs (layer, other) such that the layer's update or buffers depend on another that it does not read."""
        return [
            (self.layers[row], self.layers[column])
            for row in range(len(self.layers))
            for column in range(len(self.layers))
            if row != column and not self.upstream[row][column]
            if self.depends[row][column] or self.buffers[row][column]
        ]

    @property
    def is_local(self) -> bool:
        """Whether every layer's update depends on itself and on what it reads alone."""
        return self.steady and not self.leaks


def measure_dependence(build: Callable[[], Session], *, steps: int = 3, seed: int = 0) -> Dependence:
    """Train a few steps from a generic state, then again for each layer with that layer's parameters changed.

    The state is generic: noise is added to every parameter, auxiliary modules included, because a head that starts at
    zero sends nothing back and would hide a leak.

    Args:
        build: Makes a fresh session, each time the same. Small networks and batches do.
        steps: Steps to take; what a rule keeps from one step shows in the next ones.
        seed: Of the noise.
    """
    session = build()
    layers = session.network.layers
    first, again = train_generic(session, steps, seed), train_generic(build(), steps, seed)
    depends, buffers = [], []  # by column: a trace holds some copies of all parameters, so one is compared at a time
    for column in range(len(layers)):
        changed = train_generic(build(), steps, seed, change=column)
        pairs = list(enumerate(zip(again, changed, strict=True)))
        depends.append([update_differs(*pair, own=row == column) for row, pair in pairs])
        buffers.append([differ(one.buffers, other.buffers) for _, (one, other) in pairs])
    return Dependence(
        layers=tuple(layer.name for layer in layers),
        depends=tuple(zip(*depends, strict=True)),
        buffers=tuple(zip(*buffers, strict=True)),
        upstream=_upstream(layers),
        steady=not any(update_differs(*pair) for pair in zip(first, again, strict=True)),
    )


def _upstream(layers: Sequence[Layer]) -> Matrix:
    above: dict[str, set[str]] = {}
    for layer in layers:  # in forward order: what a layer reads is known by then
        above[layer.name] = set(layer.reads).union(*(above[name] for name in layer.reads))
    return tuple(tuple(column.name in above[row.name] for column in layers) for row in layers)
