"""noprop: its schedule against the laws of Gaussians, its loss and its prediction written out, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import numpy
import pytest
import torch
from helpers.digits import learn_digits
from helpers.exhaustive import few
from helpers.one_layer import make
from helpers.tiny_sessions import DATASET, dense, perceptron, train
from test_hard_batches import HARD, assert_stays_finite
from torch import nn

from localrules import Batch, Layer, LayerView
from localrules_diffusion.noprop import CosineSchedule, NoProp

CLASSES = 4


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_the_label_comes_out_of_pure_noise_and_ends_nearly_clean(steps: int) -> None:
    schedule = CosineSchedule(steps)
    signals = [schedule.signal(t) for t in range(steps + 1)]
    assert signals == sorted(signals)
    assert signals[0] == 0
    assert 0.999 < signals[-1] < 1


@pytest.mark.parametrize("t", [1, 2, 3])
def test_the_way_back_is_the_law_of_the_next_label_given_this_one(t: int) -> None:
    """``z_t`` and ``z_{t-1}`` given u are jointly Gaussian: condition one on the other."""
    schedule = CosineSchedule(3)
    now, before = schedule.signal(t), schedule.signal(t - 1)
    kept = (before / now) ** 0.5
    covariance, variance = kept * (1 - now), 1 - before  # of z_{t-1} = kept z_t + fresh noise
    slope = covariance / variance
    a, b, c = schedule.transition(t)
    assert b == pytest.approx(slope)
    assert a == pytest.approx(now**0.5 - slope * before**0.5)
    assert c == pytest.approx((1 - now) - slope * covariance)


def test_steps_along_the_way_back_with_a_perfect_layer_keep_the_schedule() -> None:
    schedule, signal, noise = CosineSchedule(5), 0.0, 1.0
    for t in range(1, 6):
        a, b, c = schedule.transition(t)
        signal, noise = a + b * signal, b**2 * noise + c
        assert signal == pytest.approx(schedule.signal(t) ** 0.5)
        assert noise == pytest.approx(1 - schedule.signal(t))


def layers(count: int) -> list[Layer]:
    return [Layer(f"layer {index}", nn.Identity(), index=index, out_shapes=((6,),)) for index in range(count)]


def objective_of(step: int, **options: Any) -> NoProp:
    """The objective of a layer of three."""
    peers = layers(3)
    return make(NoProp, peers[step - 1], peers=peers, num_classes=CLASSES, **options)


def view_of(objective: NoProp) -> LayerView:
    output = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    batch = Batch(torch.zeros(5, 1), torch.tensor([0, 1, 2, 3, 0]), CLASSES)
    return LayerView(objective.layer, (), output, batch)


def signal_by_hand(t: int, steps: int) -> float:
    """Fraction of the variance that the label has after t steps, by Nichol & Dhariwal's schedule run backwards."""
    if t == 0:
        return 0.0
    angle = (steps - t + 0.008 * steps) / (steps + 0.008 * steps) * math.pi / 2
    return 1 - math.sin(angle) ** 2


def loss_by_hand(objective: NoProp, view: LayerView, noise: torch.Tensor, step: int, steps: int) -> float:
    """float64, image by image and class by class, from nothing but the weights of the auxiliary network."""
    weights = {name: tensor.double().numpy() for name, tensor in objective.denoiser.state_dict().items()}
    outputs, drawn = view.output.detach().double().numpy(), noise.double().numpy()
    fraction = signal_by_hand(step - 1, steps)
    total = 0.0
    for sample, label in enumerate(view.labels.tolist()):
        noisy = [fraction**0.5 * (label == c) + (1 - fraction) ** 0.5 * drawn[sample, c] for c in range(CLASSES)]
        read = numpy.array([*outputs[sample], *noisy])
        summed = weights["hidden.weight"] @ read + weights["hidden.bias"]
        hidden = [max(0.0, float(unit)) for unit in summed]
        for c in range(CLASSES):
            cleaned = float(weights["output.weight"][c] @ hidden) + weights["output.bias"][c]
            total += (cleaned - (label == c)) ** 2
    ratios = [signal_by_hand(t, steps) / (1 - signal_by_hand(t, steps)) for t in range(steps + 1)]
    weight = (
        1.0 if objective.config.weighting == "equal" else (ratios[step] - ratios[step - 1]) / (ratios[steps] / steps)
    )
    return objective.config.eta / 2 * weight * total / len(outputs)


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("weighting", ["equal", "snr"])
def test_the_loss_is_the_distance_of_the_denoised_label_to_the_label(weighting: str, step: int) -> None:
    objective = objective_of(step, eta=0.3, weighting=weighting)
    view = view_of(objective)
    torch.manual_seed(7)
    found = objective(view).item()
    torch.manual_seed(7)
    noise = torch.randn(5, CLASSES)
    assert found == pytest.approx(loss_by_hand(objective, view, noise, step, 3), rel=1e-6)


def test_the_first_layer_learns_from_noise_that_does_not_depend_on_the_label() -> None:
    objective = objective_of(1)
    view = view_of(objective)
    seen: list[torch.Tensor] = []
    objective.denoiser.register_forward_pre_hook(lambda module, given: seen.append(given[1]))
    for labels in (view.labels, view.labels.flip(0)):
        torch.manual_seed(1)
        view.batch.labels = labels
        objective(view)
    assert torch.equal(*seen)


def test_a_prediction_goes_through_the_layers_in_order_and_depends_on_the_image_alone() -> None:
    session = perceptron(NoProp, rule_options={"draws": 1})
    train(session)
    images = session.batches.batch(0).images[:5]
    rule, schedule, draws = session.rule, CosineSchedule(3), torch.Generator().manual_seed(0)
    with session.predictor.eval_mode():
        found = rule.predict(session.network, images)
        assert torch.equal(rule.predict(session.network, images), found)
        torch.testing.assert_close(rule.predict(session.network, images[2:3]), found[2:3])
        features, label = images.flatten(1), torch.randn(CLASSES, generator=draws).expand(5, -1)
        for t, layer in enumerate(session.network.model.layers, 1):
            features = layer(features)
            a, b, c = schedule.transition(t)
            cleaned = rule.objectives[f"layers/{t - 1}#0"].denoiser(features, label)
            label = a * cleaned + b * label + c**0.5 * torch.randn(CLASSES, generator=draws)
        expected = torch.stack([-(label - code).square().sum(1) for code in torch.eye(CLASSES)], 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_layer_with_several_outputs_is_one_step() -> None:
    session = dense(NoProp, granularity=1)
    train(session)
    steps = [(objective.step, objective.schedule.steps) for objective in session.rule.objectives.values()]
    assert len(steps) > 1
    assert set(steps) == {(1, 1)}
    assert session.predictor.scores(session.data.split("valid")).logits.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"preset": "paper"}], ids=str)
@pytest.mark.parametrize("case", HARD)
def test_hard_batches_break_nothing(case: str, options: dict[str, Any]) -> None:
    assert_stays_finite(dense(NoProp, data=HARD[case], rule_options=options))


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"precision": "bf16"}], ids=str)
def test_small_batches_and_half_precision(settings: dict[str, Any]) -> None:
    assert_stays_finite(perceptron(NoProp, data=DATASET, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("options", few([{}, {"preset": "paper"}], {"{}"}))
def test_it_learns_digits(options: dict[str, Any]) -> None:
    assert learn_digits(NoProp, rule_options=options) > 0.95
