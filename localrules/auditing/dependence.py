"""Measure which layer's update depends on which layer's parameters.

What autograd says is not proof: a forgotten detach, a shared tensor, something kept for the next step, a hook or a
global all let a layer feel another, and only some of them show in a graph. So a layer's parameters are changed and
training is repeated with the same draws; whatever else then moves by one bit depends on that layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from localrules.auditing.branches import Branch, branch_in_fork, sample_prediction
from localrules.auditing.traces import add_noise, change_layer, trace_steps
from localrules.core.layer import Layer
from localrules.core.windows import layers_in_windows
from localrules.engine.session import Session
from localrules.errors import LocalRulesError

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
        allowed: The same, and the layers in the windows of ``row``, and what those read: see :func:`allowed_matrix`.
            Without windows it is ``upstream``.
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
    allowed: Matrix
    deterministic: bool
    learned: tuple[bool, ...]
    unowned_state: tuple[tuple[str, str], ...] = ()

    @property
    def leaks(self) -> list[tuple[str, str]]:
        """Pairs (layer, other) such that the layer's update or buffers depend on another on which they may not: one
        that it does not read and that is in none of its windows."""
        return [
            (self.layers[row], self.layers[column])
            for row in range(len(self.layers))
            for column in range(len(self.layers))
            if row != column and not self.allowed[row][column]
            if self.depends[row][column] or self.buffers[row][column]
        ]

    @property
    def uses_windows(self) -> bool:
        """Whether a layer's update depends on another that it does not read, within its windows."""
        return any(
            self.depends[row][column] or self.buffers[row][column]
            for row, allowed in enumerate(self.allowed)
            for column, may in enumerate(allowed)
            if may and row != column and not self.upstream[row][column]
        )

    def through(self, layer: str, other: str) -> list[str]:
        """By what a layer feels another: its ``update``, its ``buffers``, or both."""
        row, column = self.layers.index(layer), self.layers.index(other)
        ways = {"update": self.depends[row][column], "buffers": self.buffers[row][column]}
        return [way for way, felt in ways.items() if felt]

    @property
    def is_local(self) -> bool:
        """Whether every layer's update was seen, and depends on the layer itself and on what it reads alone."""
        clean = not (self.leaks or self.uses_windows or self.unowned_state)
        return self.deterministic and self.observed and clean

    @property
    def observed(self) -> bool:
        """Whether any hidden layer learned: if none did, that nothing leaks says nothing."""
        return any(self.learned[:-1] or self.learned)


def measure_dependence(
    build: Callable[[], Session],
    *,
    steps: int = 3,
    seed: int = 0,
    relative: float = 0.0,
    predict: bool = False,
    places: int | None = None,
) -> Dependence:
    """Train a few steps from a generic state, then again for each layer with that layer's parameters changed.

    The state is generic: noise is added to every parameter, auxiliary modules included, because a head that starts at
    zero sends nothing back and would hide a leak.

    Each training is done in a forked process where that is possible, so that none finds what another has left in the
    state of its process, such as a cache. One is done after another in the same process, and has to give its bits.

    Args:
        build: Makes a fresh session, each time the same. Small networks and batches do.
        steps: Steps to take; what a rule keeps from one step shows in the next ones.
        seed: Of the noise.
        relative: Change a layer more, by noise in units of each parameter's root mean square. Trainings that fail at so
            large a change are left out.
        predict: Predict a few samples after each step, as a run does at the end of an epoch.
        places: Instead of one layer after the other, change all layers behind so many places at once. Then the matrices
            hold only that some layer behind a place is felt before it.
    """

    def train(*changed: int) -> Branch:
        session = build()
        add_noise([*session.network.parameters(), *session.rule.parameters()], seed)
        for index in changed:
            change_layer(session, index, seed, relative=relative)
        between = sample_prediction(session) if predict else None
        return Branch.of(session, trace_steps(session, 0, steps, between=between))

    def train_twice() -> Branch:
        train()
        return train()

    session = build()
    layers = session.network.layers
    names = tuple(layer.name for layer in layers)
    first, again = map(branch_in_fork, (train, train_twice))
    size = len(layers)
    groups: list[tuple[int, ...]] = [(column,) for column in range(size)]
    if places is not None and places < size - 1:
        borders = {round((number + 1) * size / (places + 1)) for number in range(places)}
        groups = [tuple(range(border, size)) for border in sorted(borders)]
    changes = []
    for group in groups:
        try:
            changes.append((group, branch_in_fork(partial(train, *group))))
        except LocalRulesError:
            if not relative:  # a change this large may leave nothing to compute with
                raise
    allowed = allowed_matrix(layers, session.run.window)
    return dependence(names, upstream_matrix(layers), allowed, first, again, changes)


def dependence(
    names: tuple[str, ...],
    upstream: Matrix,
    allowed: Matrix,
    first: Branch,
    again: Branch,
    changes: Iterable[tuple[tuple[int, ...], Branch]],
) -> Dependence:
    """Compare branches of one training.

    Args:
        names: Of the layers, in forward order.
        upstream, allowed: As of :class:`Dependence`.
        first, again: Two branches in which nothing was changed.
        changes: Indices of the layers that were changed together, and the branch. A row that reads one of them is
            compared only where one layer was changed alone.
    """
    size = len(names)
    depends, buffers = [[[False] * size for _ in names] for _ in range(2)]
    loose = []
    for columns, changed in changes:
        reading = {row for row in range(size) if any(allowed[row][column] for column in columns)}
        alone = len(columns) == 1
        for row in range(size):
            if not alone and (row in reading or row in columns):
                continue
            one, other = first.layers[row], changed.layers[row]
            for column in columns:
                depends[row][column] |= one.update_differs(other, own=row == column)
                buffers[row][column] |= one.buffers != other.buffers
        if len(reading | {*columns}) < size:
            loose += [
                (name, names[columns[0]]) for name, value in first.shared.items() if changed.shared.get(name) != value
            ]
    return Dependence(
        layers=names,
        depends=tuple(map(tuple, depends)),
        buffers=tuple(map(tuple, buffers)),
        upstream=upstream,
        allowed=allowed,
        deterministic=not any(one.update_differs(other) for one, other in zip(first.layers, again.layers, strict=True)),
        learned=tuple(layer.learned for layer in first.layers),
        unowned_state=tuple(dict.fromkeys(loose)),
    )


def merge(parts: Sequence[Dependence]) -> Dependence:
    """Several measurements of the same layers as one: what any of them found; a layer learned if it did in one."""
    first, size = parts[0], range(len(parts[0].layers))
    return Dependence(
        layers=first.layers,
        depends=tuple(tuple(any(part.depends[row][column] for part in parts) for column in size) for row in size),
        buffers=tuple(tuple(any(part.buffers[row][column] for part in parts) for column in size) for row in size),
        upstream=first.upstream,
        allowed=first.allowed,
        deterministic=all(part.deterministic for part in parts),
        learned=tuple(any(part.learned[row] for part in parts) for row in size),
        unowned_state=tuple(dict.fromkeys(pair for part in parts for pair in part.unowned_state)),
    )


def upstream_matrix(layers: Sequence[Layer]) -> Matrix:
    """Whether layer ``row`` reads layer ``column``, directly or through others."""
    above: dict[str, set[str]] = {}
    for layer in layers:  # in forward order: what a layer reads is known by then
        above[layer.name] = set(layer.input_layers).union(*(above[name] for name in layer.input_layers))
    return tuple(tuple(column.name in above[row.name] for column in layers) for row in layers)


def allowed_matrix(layers: Sequence[Layer], window: int) -> Matrix:
    """Whether the update of layer ``row`` may depend on layer ``column``: where it reads it, and in windows.

    There a layer learns from the objectives of layers above it, and what those depend on: the layers of the window, and
    all that they read.

    Args:
        layers: In forward order, the readout last.
        window: Layers in a window; 1: none.
    """
    upstream = upstream_matrix(layers)
    place = {layer.name: index for index, layer in enumerate(layers)}
    rows = [list(row) for row in upstream]
    for name, reached in layers_in_windows(layers, window).items():
        for other in map(place.__getitem__, reached):
            rows[place[name]][other] = True
            rows[place[name]] = [one or two for one, two in zip(rows[place[name]], upstream[other], strict=True)]
        rows[place[name]][place[name]] = False  # as in the upstream matrix
    return tuple(map(tuple, rows))
