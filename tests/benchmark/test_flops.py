"""The MACs of a step: counted, and as many as the arithmetic says."""

from __future__ import annotations

import pytest

from localrules.benchmark.flops import CostSegment, step_macs
from localrules.engine.resolve import resolve_run
from localrules.registry.registry import Registry

REGISTRY = Registry.load(allow=[])
BATCH, SIDE, HIDDEN, CLASSES = 8, 6, (5, 4), 3
FIRST, SECOND, LAST = SIDE * SIDE * HIDDEN[0], HIDDEN[0] * HIDDEN[1], HIDDEN[1] * CLASSES


def counted(rule: str, **settings: object) -> list[CostSegment]:
    run = resolve_run(
        {
            "rule": {"name": rule},
            "model": {"name": "mlp", "hidden": list(HIDDEN)},
            "data": {"name": "faces"},
            "batch_size": BATCH,
            "threads": 1,
            **({"steps": 10} | settings),
        },
        REGISTRY,
    )
    return step_macs(run.config, REGISTRY, (1, SIDE, SIDE), CLASSES, steps=10)


def test_back_propagation_costs_three_forward_passes_less_the_gradient_for_the_images() -> None:
    (step,) = counted("backprop")
    assert step == CostSegment(0, 10, BATCH * (3 * (FIRST + SECOND + LAST) - FIRST))


def test_a_local_step_costs_two_forward_passes_and_its_auxiliary_classifiers() -> None:
    (step,) = counted("local-ce")
    classifiers = sum(3 * width * CLASSES for width in HIDDEN)
    assert step.macs == BATCH * (2 * (FIRST + SECOND + LAST) + classifiers)


def test_each_phase_has_its_own_cost() -> None:
    hidden, readout = counted("backprop", phases="two-phase")
    assert (hidden.start, hidden.stop, readout.stop) == (0, 8, 10)
    assert readout.macs == BATCH * (FIRST + SECOND + 2 * LAST)
    assert hidden.macs > readout.macs


def test_phases_of_a_run_that_was_asked_for_in_epochs_lie_where_its_steps_are() -> None:
    """The number of steps of an epoch depends on the data."""
    assert counted("backprop", phases="two-phase", steps=None, epochs=3.0) == counted("backprop", phases="two-phase")


def test_an_objectives_own_products_are_counted() -> None:
    (step,) = counted("hsic")
    assert step.macs > BATCH * 2 * (FIRST + SECOND + LAST)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_precision_does_not_change_the_count(precision: str) -> None:
    assert counted("backprop", precision=precision) == counted("backprop")
