"""Time and memory of steps."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_sessions import RULES, dense, train

from localrules.engine.profiling import StepTimer, peak_memory, process_peak_mib

CPU = torch.device("cpu")


def test_peak_memory_is_what_was_live_at_once() -> None:
    def work() -> float:
        first = torch.ones(2**20)  # 4 MiB
        second = first + 1  # 8 live
        del first
        third = second.double()  # 12 live
        return float(third[0])

    result, peak = peak_memory(work, CPU)
    assert result == 2.0
    assert peak == pytest.approx(12, abs=0.01)


def test_what_was_live_before_does_not_count_and_its_release_makes_no_room() -> None:
    held = [torch.ones(2**20)]
    _, peak = peak_memory(lambda: torch.ones(2**18), CPU)
    assert peak == pytest.approx(1, abs=0.01)
    assert len(held) == 1


def test_peak_memory_of_nothing_is_nothing() -> None:
    assert peak_memory(lambda: None, CPU) == (None, 0.0)


def test_a_local_step_needs_less_memory_than_back_propagation() -> None:
    peaks = {}
    for rule in ("hsic", "backprop", "backprop-checkpointed"):
        session = dense(RULES[rule], model_options={"convolutions": 4, "growth": 8}, batch_size=32)
        train(session, 0, 1)
        peaks[rule] = peak_memory(lambda session=session: train(session, 1, 2), CPU)[1]
    assert peaks["hsic"] < peaks["backprop-checkpointed"] < peaks["backprop"]


def test_the_process_has_held_some_memory() -> None:
    assert process_peak_mib() > 50


def test_a_clock_leaves_the_first_steps_out() -> None:
    clock = StepTimer()
    assert clock.step_seconds is None
    assert clock.recent is None
    for seconds in (9.0, 8.0, 7.0):
        clock.add(seconds)
    assert clock.step_seconds == 8.0
    for seconds in (6.0, 5.0, 1.0, 2.0, 3.0):
        clock.add(seconds)
    assert clock.step_seconds == 2.0
    assert clock.recent == 5.5
