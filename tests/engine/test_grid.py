"""Replicas of stages train to the bits of processes that divide the batches alone."""

from __future__ import annotations

import sys

import pytest
from helpers.exhaustive import cases_to_run, few
from helpers.grids import REPEATED, STAGES, Found, compare_grids
from helpers.stages import Case

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")]

# Adam makes steps of rounding errors where a gradient is zero.
SMALL_STEPS = {"name": "sgd", "lr": 5e-4}
SYNCHRONISED = (("optimizer", SMALL_STEPS), ("sync_batchnorm", True))
PHASES = (("phases", "two-phase"), ("steps", 10))
CLIPPED = (("optimizer", {**SMALL_STEPS, "grad_clip_norm": 0.1, "step_timing": "pass"}),)
CASES = [
    Case("hsic", "resnet20", SYNCHRONISED),
    Case("local-ce", "dense_fpn_small", SYNCHRONISED),
    Case("predsim", "vgg8b", SYNCHRONISED + PHASES),
    Case("softhebb", "resnet20", (*SYNCHRONISED, ("checkpoint_every", 5))),
    Case("local-ce", "DrawsBetween", SYNCHRONISED),
    Case("sgr", "vgg8b", SYNCHRONISED + PHASES),
    Case("hsic-projected", "vgg8b", (*SYNCHRONISED, *CLIPPED, ("targets", {"label_smoothing": 0.1}))),
    Case("forward-forward", "vgg8b", SYNCHRONISED),
    Case("predsim", "dense_fpn_small", (*SYNCHRONISED, ("batch_size", 4))),
]
UNSYNCHRONISED = Case("local-ce", "resnet20", (("optimizer", {"name": "adam"}),))
RUN = {*map(str, CASES[:2])}
"""Two rules alone, since groups of four processes take long on two cores."""


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> dict[str, Found]:
    """All cases, in one group of processes."""
    return compare_grids(cases_to_run(request))


@pytest.mark.parametrize("case", few([*CASES, UNSYNCHRONISED], RUN | {str(UNSYNCHRONISED)}))
def test_the_whole_state_has_the_bits_of_processes_that_divide_the_batches(case: Case, found: dict[str, Found]) -> None:
    assert found[str(case)].equal
    stages = found[str(case)].stage_seconds
    assert len(stages) == STAGES
    assert min(stages) > 0


@pytest.mark.parametrize("case", CASES[:REPEATED], ids=str)
def test_a_grid_comes_to_the_same_bits_each_time(case: Case, found: dict[str, Found]) -> None:
    assert found[str(case)].repeatable


@pytest.mark.parametrize("case", few(CASES, RUN))
def test_it_is_the_state_of_one_process_within_rounding(case: Case, found: dict[str, Found]) -> None:
    assert max(found[str(case)].differences.values()) < 1e-5
