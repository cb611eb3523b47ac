"""scff: goodness of an image with itself and with another one, number by number."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.one_layer import CLASSES, LABELS, draws, layer_of, make
from helpers.tiny_sessions import dense, perceptron
from torch import Tensor

from localrules import Batch, LayerView
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules_unsupervised.scff import SCFF

SAMPLES = len(LABELS)


def view_of(rule: SCFF) -> LayerView:
    """Twice as many outputs as images."""
    output = draws(2 * SAMPLES, *rule.layer.out_shape, seed=1).relu().requires_grad_()
    return LayerView(rule.layer, (), output, Batch(draws(SAMPLES, 1, 4, 4), LABELS, CLASSES))


def by_hand(output: Tensor, positive: float, negative: float, steepness: float, sparsity: float) -> float:
    """Position by position."""
    total = 0.0
    for number, sample in enumerate(output.flatten(2) if output.dim() > 2 else output[:, :, None]):
        goodness = [sum(float(value) ** 2 for value in column) / sample.shape[0] for column in sample.T]
        first = number < SAMPLES
        for each in goodness:
            beyond = positive - each if first else each - negative
            total += math.log1p(math.exp(steepness * beyond)) / len(goodness) / SAMPLES
        if first:
            total += sparsity * math.sqrt(sum(each**2 for each in goodness)) / SAMPLES
    return total


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2)])
@pytest.mark.parametrize(
    "options", [{}, {"positive": 0.7, "negative": 0.4, "steepness": 2.0, "sparsity": 0.3}], ids=str
)
def test_logistic_losses_of_goodness_and_its_norm(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    rule = make(SCFF, layer_of(shape), **options).double()
    view, config = view_of(rule), rule.config
    expected = by_hand(view.output.detach(), config.positive, config.negative, config.steepness, config.sparsity)
    losses = rule(view)
    assert isinstance(losses, dict)
    assert sum(losses.values()).item() == pytest.approx(expected, rel=1e-9)


def test_inputs_are_each_image_and_its_mean_with_another_one() -> None:
    rule = make(SCFF, layer_of((5,)))
    images = draws(SAMPLES, 1, 4, 4)
    torch.manual_seed(3)
    inputs = rule.make_inputs(Batch(images, LABELS, CLASSES))
    assert torch.equal(inputs[:SAMPLES], images)
    others = 2 * inputs[SAMPLES:] - images
    found = [[bool(torch.allclose(other, image)) for image in images] for other in others]
    assert all(sum(row) == 1 and not row[number] for number, row in enumerate(found))


def test_readers_receive_each_sample_at_mean_0_and_variance_1() -> None:
    rule = make(SCFF, layer_of((3, 4, 2)))
    output = draws(6, 3, 4, 2) * 3 + 1
    found = rule.transform_output(output).flatten(1)
    torch.testing.assert_close(found.mean(1), torch.zeros(6, dtype=torch.float64))
    torch.testing.assert_close(found.var(1, unbiased=False), torch.ones(6, dtype=torch.float64), rtol=1e-4, atol=0)


@pytest.mark.parametrize("network", [perceptron, dense])
def test_the_readout_learns_from_positive_inputs_alone(network: Any) -> None:
    session: Session = network(SCFF)
    result = train_step(session, session.phases[0], 0)
    assert result.report.logits is not None
    assert len(result.report.logits) == len(result.labels) == session.config.batch_size
    assert {"positive", "negative"} <= {name.split("/")[0] for name in result.report.metrics}
