"""Replicas of stages, two processes that divide batches, and one process: what each makes of the same runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from helpers.process_groups import Groups, Send, in_processes
from helpers.stages import Case, train
from helpers.two_ranks import relative_difference, state

REPLICAS, STAGES = 2, 2
REPEATED = 2  # cases that the grid trains twice


@dataclass(frozen=True)
class Found:
    """The comparison of a case.

    Attributes:
        equal: Whether the state of the grid is that of processes that divide the batches alone, bit for bit.
        repeatable: Whether the grid comes to the same bits again; ``None`` if it has trained once.
        differences: Relative difference of each tensor of state to that of one process, by name.
        stage_seconds: The time of a step in each stage.
    """

    equal: bool
    repeatable: bool | None
    differences: dict[str, float]
    stage_seconds: list[float]


def compare_grids(cases: Sequence[Case]) -> dict[str, Found]:
    """Train all cases in a grid of 2 x 2 processes, then in two of these that divide the batches, and in one alone."""
    sent = in_processes([REPLICAS * STAGES, REPLICAS], _compare, tuple(cases), messages=len(cases))
    return {str(case): main for case, (main, *_) in zip(cases, sent, strict=True)}


def _compare(groups: Groups, send: Send, cases: Sequence[Case]) -> None:
    groups.join(REPLICAS * STAGES)
    together = [train(case, REPLICAS * STAGES, stages=STAGES) for case in cases]
    again = [train(case, REPLICAS * STAGES, stages=STAGES)[0] for case in cases[:REPEATED]]
    divided = [train(case, REPLICAS, parallel="data")[0] for case in cases] if groups.join(REPLICAS) else []
    groups.join(0)
    for at, case in enumerate(cases):
        if groups.rank > 0:
            send(None)
            continue
        found, trainer = together[at]
        alone, reached = state(train(case, 1)[1].session), state(trainer.session)
        differences = {name: relative_difference(reached[name], value) for name, value in alone.items()}
        repeatable = found == again[at] if at < REPEATED else None
        send(Found(found == divided[at], repeatable, differences, trainer.stage_seconds or []))
