"""Measure which layer's update depends on which layer's parameters.

What autograd says is not proof: a forgotten detach, a shared tensor, something kept for the next step, a hook or a
global all let a layer feel another, and only some of them show in a graph. So a layer's parameters are changed and
training is repeated with the same draws; whatever else then moves by one bit depends on that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from localrules.core.layer import Layer
from localrules.engine.session import Session
from localrules.testing.auditing.traces import Trace, differ, shared_state, train_from_perturbed, update_differs

Matrix = tuple[tuple[bool, ...], ...]


@dataclass(frozen=True)
class Dependence:
    """Which layer's update depends on which layer's parameters.

    Attributes:
        layers: Names in forward order, the readout last.
        depends: ``depends[row][column]``: whether the gradients or the change of layer ``row``'s parameters, those of
            its auxiliary modules included, or what the rule keeps of it, differ by any bit when layer ``column``'s
            parameters do. The diagonal compares gradients and what is kept.
        buffers: The same for layer ``row``'s buffers (the statistics of batch norms).
        upstream: ``upstream[row][column]``: whether layer ``row`` reads layer ``column``, directly or through others;
            then its update may depend on it.
        deterministic: Whether training twice from one state gave the same bits. Where it did not, something is
            kept outside of the session (a global), and the matrices say more than there is.
        learned: Whether each layer was seen to learn: a gradient, or parameters or the rule's state of it that moved.
        unowned_state: Pairs (name, other): state of the rule that is said to be of no layer, so that all may read it,
            depends on a layer that not all of them read.
    """

    layers: tuple[str, ...]
    depends: Matrix
    buffers: Matrix
    upstream: Matrix
    deterministic: bool
    learned: tuple[bool, ...]
    unowned_state: tuple[tuple[str, str], ...] = ()

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

    def through(self, layer: str, other: str) -> list[str]:
        """By what a layer feels another: its ``update``, its ``buffers``, or both."""
        row, column = self.layers.index(layer), self.layers.index(other)
        ways = {"update": self.depends[row][column], "buffers": self.buffers[row][column]}
        return [way for way, felt in ways.items() if felt]

    @property
    def is_local(self) -> bool:
        """Whether every layer's update was seen, and depends on the layer itself and on what it reads alone."""
        return self.deterministic and self.observed and not self.leaks and not self.unowned_state

    @property
    def observed(self) -> bool:
        """Whether any hidden layer learned: if none did, that nothing leaks says nothing."""
        return any(self.learned[:-1] or self.learned)


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
    upstream = upstream_matrix(layers)
    first = train_from_perturbed(session, steps, seed)
    again, shared = _trained(build, steps, seed)
    depends, buffers, loose = [], [], []
    for column, layer in enumerate(layers):  # a trace holds some copies of all parameters: one is compared at a time
        changed, other_shared = _trained(build, steps, seed, change=column)
        pairs = list(enumerate(zip(again, changed, strict=True)))
        depends.append([update_differs(*pair, own=row == column) for row, pair in pairs])
        buffers.append([differ(one.buffers, other.buffers) for _, (one, other) in pairs])
        if not all(upstream[row][column] for row in range(len(layers)) if row != column):
            loose += [(name, layer.name) for name in shared if differ([shared[name]], [other_shared.get(name)])]
    return Dependence(
        layers=tuple(layer.name for layer in layers),
        depends=tuple(zip(*depends, strict=True)),
        buffers=tuple(zip(*buffers, strict=True)),
        upstream=upstream,
        deterministic=not any(update_differs(*pair) for pair in zip(first, again, strict=True)),
        learned=tuple(trace.learned for trace in again),
        unowned_state=tuple(loose),
    )


def _trained(
    build: Callable[[], Session], steps: int, seed: int, change: int | None = None
) -> tuple[list[Trace], dict[str, Tensor]]:
    """Traces of all layers in a fresh session, and the state of the rule that belongs to no layer."""
    session = build()
    return train_from_perturbed(session, steps, seed, change=change), shared_state(session)


def upstream_matrix(layers: Sequence[Layer]) -> Matrix:
    """Whether layer ``row`` reads layer ``column``, directly or through others."""
    above: dict[str, set[str]] = {}
    for layer in layers:  # in forward order: what a layer reads is known by then
        above[layer.name] = set(layer.input_layers).union(*(above[name] for name in layer.input_layers))
    return tuple(tuple(column.name in above[row.name] for column in layers) for row in layers)
