"""The audit that a run makes of itself: at its start, in its middle and at its end.

At each of these points the run branches in forked processes, and stays as it is. The cost is bounded: two percent of
the run's steps, or a little more where a run is short. So not one layer after the other is changed, but all layers
behind a place at once, and nothing before that place may feel it; each point tries other places.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from localrules.auditing.branches import Branch, Variation, fork_branch
from localrules.auditing.dependence import Dependence, Matrix, allowed_matrix, dependence, upstream_matrix
from localrules.auditing.forks import can_fork, in_fork
from localrules.auditing.locality_class import measure_class
from localrules.auditing.relabelling import RELABELLINGS, Relabelling
from localrules.core.locality import LOCALITY_LEVELS, Locality, is_within
from localrules.engine import checkpoint
from localrules.engine.session import Session
from localrules.errors import UsageError, describe_exception
from localrules.utils.atomic_io import write_atomic

FILE = "audit.json"
COST = 0.02  # of a run's steps, for all points together
POINTS = 3
STEPS = 2  # of a branch: what a rule keeps from one step shows in the next
_LIMITED = LOCALITY_LEVELS.index("window")  # up to it, no layer may depend on all of those above it


@dataclass(frozen=True)
class Point:
    """The measurements at one step.

    Attributes:
        step: The step before which the run branched.
        measured: The class.
        leaks: Pairs (layer, other): the layer's update depends on another that it does not read.
        tried: Pairs (layer, other) of this kind that were looked at.
        learned: Whether a hidden layer was seen to learn.
        deterministic: Whether two branches in which nothing was changed gave the same bits. They are compared where a
            rule of local layers leaks.
        branch_steps: Steps that were taken for it.
    """

    step: int
    measured: Locality
    leaks: tuple[tuple[str, str], ...]
    tried: int
    learned: bool
    branch_steps: int
    deterministic: bool = True


class InRunAudit:
    """Audits a session while it is trained; call :meth:`before_step` before each step.

    Args:
        session: The run.
        folder: The run folder; what was measured is kept in its ``audit.json``, and a resumed run goes on with it.

    Raises:
        UsageError: The process cannot be forked on this machine.
    """

    def __init__(self, session: Session, folder: Path) -> None:
        check_can_audit()
        self._session, self._file = session, folder / FILE
        last = max(0, session.total_steps - STEPS)
        self.steps = sorted({0, last // 2, last})
        self.declared: Locality = session.run.locality
        self.points: dict[int, Point] = {}
        if self._file.exists():
            self.points = _read_points(self._file)

    def before_step(self, step: int) -> None:
        """Branch, if the step is one of the points."""
        if step in self.steps:
            self.points[step] = self._measure(step)
            text = json.dumps(self.as_dict(), indent=1)
            write_atomic(self._file, lambda path: path.write_text(text + "\n", encoding="utf-8"))

    @property
    def measured(self) -> Locality:
        """The furthest class that was measured at any point."""
        return max((point.measured for point in self.points.values()), key=LOCALITY_LEVELS.index)

    @property
    def holds(self) -> bool:
        """Whether the run kept to the declared class wherever it was looked at, was seen to learn, and is
        deterministic: otherwise layers differ whatever they depend on."""
        return not self.reason

    @property
    def reason(self) -> str:
        """The reason why it does not hold; empty if it does."""
        points = self.points.values()
        if not all(point.deterministic for point in points):
            return "two branches in which nothing was changed differ, so that the class cannot be measured"
        if not any(point.learned for point in points):
            return "no hidden layer was seen to learn"
        return "" if is_within(self.measured, self.declared) else "layers depend on more than the declared class allows"

    def locality(self) -> dict[str, Any]:
        """``{"declared", "measured", "holds"}``, as ``run --json`` has it, and the ``reason`` if it does not hold."""
        why = {"reason": self.reason} if self.reason else {}
        return {"declared": self.declared, "measured": self.measured, "holds": self.holds, **why}

    @property
    def upstream(self) -> Matrix:
        """``upstream[row][column]``: whether layer ``row`` reads layer ``column``, directly or through others."""
        return upstream_matrix(self._session.network.layers)

    @property
    def depends(self) -> Matrix:
        """``depends[row][column]``: whether ``row`` depends on ``column`` at any point, or is or reads that layer."""
        names = [layer.name for layer in self._session.network.layers]
        leaks = {pair for point in self.points.values() for pair in point.leaks}
        return tuple(
            tuple(row == column or reads or (row, column) in leaks for column, reads in zip(names, line, strict=True))
            for row, line in zip(names, self.upstream, strict=True)
        )

    def as_dict(self) -> dict[str, Any]:
        """The content of ``audit.json``."""
        points = [asdict(self.points[step]) for step in sorted(self.points)]
        layers = [layer.name for layer in self._session.network.layers]
        return {**self.locality(), "layers": layers, "depends": self.depends, "points": points}

    def _measure(self, step: int) -> Point:
        session, seed = self._session, self._session.config.seed
        names = tuple(layer.name for layer in session.network.layers)
        upstream = self.upstream
        allowed = allowed_matrix(session.network.layers, session.run.window)
        taken = 0

        def branch(variation: Variation) -> Branch:
            nonlocal taken
            taken += STEPS
            return fork_branch(session, step, min(step + STEPS, session.total_steps), variation, seed=seed)

        places = self._places(step)
        first = branch(Variation())
        groups = {place: _forbidden(allowed, place) for place in places}
        changes = [(group, branch(Variation(group))) for group in groups.values() if group]
        found = dependence(names, upstream, allowed, first, first, changes)
        tried = sum(
            not any(allowed[row][column] for column in group) and len(group)
            for place, group in groups.items()
            for row in range(place + 1)
        )
        local = LOCALITY_LEVELS.index(self.declared) <= _LIMITED
        if found.leaks and local:  # worth more steps: which layers, and what comes down
            changes = [((index,), branch(Variation((index,)))) for index in range(len(names))]
            found = dependence(names, upstream, allowed, first, branch(Variation()), changes)
            tried = sum(not may for row in allowed for may in row) - len(names)
        if not found.leaks:
            measured: Locality = "local"
            # Of two classes, other labels are the same classes by other names.
            others: tuple[Relabelling, ...] = RELABELLINGS if len(session.data.classes) == 2 else ("redrawn",)
            if any(first.hidden_layers_differ(branch(Variation(labels=each))) for each in others):
                measured = "local-labels"
            if (inside := _in_a_window(allowed, upstream, places)) is not None:
                near = [((inside,), branch(Variation((inside,))))]
                if dependence(names, upstream, allowed, first, first, near).uses_windows:
                    measured = "window"
        elif local or step == self.steps[len(self.steps) // 2]:
            measured, more = _class_in_fork(session, found, step, seed)
            taken += more
        else:
            measured = "broadcast-error"  # or further: the middle of the run is where that is told
        return Point(step, measured, tuple(found.leaks), tried, found.observed, taken, found.deterministic)

    def _places(self, step: int) -> list[int]:
        """Indices of layers behind which all are changed: other ones at each point, as many as the cost allows."""
        hidden = len(self._session.network.layers) - 1
        branches = int(COST * self._session.total_steps / POINTS / STEPS)
        count = min(hidden, max(1, branches - 2))
        order = torch.randperm(hidden, generator=torch.Generator().manual_seed(self._session.config.seed)).tolist()
        first = self.steps.index(step) * count
        return [order[(first + index) % hidden] for index in range(count)]


def _forbidden(allowed: Matrix, place: int) -> tuple[int, ...]:
    """Indices of the layers behind a place on which the layer at this place may not depend."""
    return tuple(column for column in range(place + 1, len(allowed)) if not allowed[place][column])


def _in_a_window(allowed: Matrix, upstream: Matrix, places: list[int]) -> int | None:
    """The index of a layer on which a layer that it reads may depend; one behind the places where there is one."""
    size = range(len(allowed))
    found = [c for c in size if any(allowed[row][c] and not upstream[row][c] for row in range(c))]
    behind = [column for column in found if column - 1 in places]
    return next(iter([*behind, *found]), None)


def _read_points(file: Path) -> dict[int, Point]:
    """The measurements that a run made before it was resumed.

    Raises:
        UsageError: The file is damaged.
    """
    points: dict[int, Point] = {}
    try:
        for found in json.loads(file.read_text(encoding="utf-8"))["points"]:
            leaks = tuple((str(layer), str(other)) for layer, other in found.pop("leaks"))
            point = Point(**found, leaks=leaks)
            if point.measured not in LOCALITY_LEVELS or not isinstance(point.step, int):
                raise ValueError(f"{point.measured!r} at step {point.step!r} is not a measurement")
            points[point.step] = point
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(
            "the run's audit cannot be read",
            where=str(file),
            why=describe_exception(error),
            fix="put the file back, or remove it: then the class is that of the measurements that are still to come",
        ) from error
    return points


def check_can_audit() -> None:
    """Raises UsageError where a process that trains cannot be forked."""
    if not can_fork():
        raise UsageError(
            "a run cannot audit itself on this machine",
            where="--audit",
            why="it branches by forking its process, which neither a GPU nor this system allows",
            fix="leave --audit out, and run localrules audit RUN afterwards",
        )


def _class_in_fork(session: Session, found: Dependence, step: int, seed: int) -> tuple[Locality, int]:
    """The class of a rule to whose layers a signal comes down, by the tests nearest to the readout; and its steps."""
    sessions = 0

    def measure() -> dict[str, Any]:
        # The forked session is a copy that nobody needs, so it may be put back again and again.
        state = deepcopy(checkpoint.session_state(session, {}))
        batches = session.batches

        def build() -> Session:
            nonlocal sessions
            sessions += 1
            checkpoint.apply_state(session, deepcopy(state))
            return replace(session, batches=batches, executor=None)

        measured = measure_class(build, found, steps=1, seed=seed, start=step, most=1, fork=False)
        return {"measured": measured, "steps": sessions}

    answer = in_fork(measure)
    return answer["measured"], answer["steps"]
