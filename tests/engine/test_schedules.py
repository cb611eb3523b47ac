"""The learning rate at the start, at its peak and at the end of a phase."""

from __future__ import annotations

import math

import pytest
from helpers.tiny_sessions import RULES, perceptron, train

from localrules.config.schema import ScheduleConfig
from localrules.engine.schedules import learning_rate
from localrules.errors import UsageError

PEAK = 0.8


def rates(steps: int, **settings: object) -> list[float]:
    return [learning_rate(ScheduleConfig(**settings), PEAK, step, steps) for step in range(steps)]  # type: ignore[arg-type]


def test_one_cycle_warms_up_to_the_peak_and_decays_to_its_end() -> None:
    found = rates(100, warmup=0.25, start=0.1, end=0.05)
    assert found[0] == pytest.approx(PEAK * (0.1 + 0.9 / 25))
    assert found[12] == pytest.approx(PEAK * (0.1 + 0.9 * 13 / 25))
    assert found[24] == found[25] == pytest.approx(PEAK)
    assert found[62] == pytest.approx(PEAK * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * 37 / 75))))
    assert PEAK * 0.05 < found[99] < PEAK * 0.052
    assert max(found) == PEAK
    assert found[:25] == sorted(found[:25])
    assert found[25:] == sorted(found[25:], reverse=True)


def test_cosine_starts_at_the_peak() -> None:
    found = rates(10, name="cosine", end=0.5)
    assert found[0] == PEAK
    assert found[5] == pytest.approx(PEAK * 0.75)
    assert found == sorted(found, reverse=True)
    assert min(found) > PEAK * 0.5


def test_constant_is_constant() -> None:
    assert set(rates(7, name="constant")) == {PEAK}


def test_steps_fall_at_their_milestones() -> None:
    found = rates(8, name="steps", milestones=(0.5, 0.75), factor=0.5)
    assert found == [PEAK] * 4 + [PEAK / 2] * 2 + [PEAK / 4] * 2


def test_a_layer_may_have_a_multiple_of_the_learning_rate() -> None:
    scales = {"readout": 0.1, "layers.*": 2.0}
    session = perceptron(RULES["local-ce"], optimizer={"lr": 0.01, "lr_scale": scales}, schedule={"name": "cosine"})
    train(session, 0, 3)
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in session.optimizers.by_layer.items()}
    base = session.optimizers.learning_rate
    assert 0 < base < 0.01
    assert rates == {"layers.0": 2 * base, "layers.1": 2 * base, "layers.2": 2 * base, "readout": 0.1 * base}


def test_a_scale_for_no_layer_is_refused() -> None:
    with pytest.raises(UsageError, match="no layer is called 'laiers"):
        perceptron(RULES["local-ce"], optimizer={"lr_scale": {"laiers.*": 2.0}})


@pytest.mark.parametrize("name", ["one-cycle", "cosine", "steps", "constant"])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_phase_of_a_few_steps_learns_in_each(name: str, steps: int) -> None:
    assert all(0 < rate <= PEAK for rate in rates(steps, name=name))


def test_no_warm_up_and_warm_up_alone() -> None:
    assert rates(4, warmup=0.0)[0] == PEAK
    assert rates(4, warmup=1.0)[-1] == PEAK


def test_each_phase_has_a_schedule_of_its_own_in_all_layers() -> None:
    settings = {"name": "cosine"}
    session = perceptron(RULES["hsic"], schedule=settings, optimizer={"lr": PEAK}, phases="two-phase", steps=8)
    seen: dict[str, list[float]] = {}
    for layer, optimizer in session.optimizers.by_layer.items():
        rates_of = seen.setdefault(layer, [])
        optimizer.register_step_pre_hook(
            lambda optimizer, *_, rates_of=rates_of: rates_of.append(optimizer.param_groups[0]["lr"])
        )
    train(session)
    assert seen["layers.0"] == seen["layers.2"] == pytest.approx(rates(6, name="cosine"))
    assert seen["readout"] == pytest.approx(rates(2, name="cosine"))
