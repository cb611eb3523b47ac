"""clapp: hinges of predictions between two views, number by number."""

from __future__ import annotations

import pytest
import torch
from helpers.one_layer import CLASSES, LABELS, drawn, draws, layer_of, make
from helpers.reference import pooled
from helpers.tiny_sessions import perceptron
from torch import Tensor

from localrules import Batch, LayerView
from localrules.engine.step import train_step
from localrules_unsupervised.clapp import CLAPP
from localrules_unsupervised.pairing import other_samples

SAMPLES = len(LABELS)


def by_hand(
    first: list[list[float]], second: list[list[float]], form: Tensor, others: list[int]
) -> tuple[float, float]:
    """Each sample's score with its own other view, and with that of another sample."""
    positive = negative = 0.0
    for number, context in enumerate(first):
        predicted = [sum(w * c for w, c in zip(row, context, strict=True)) for row in form.tolist()]
        right = sum(p * z for p, z in zip(predicted, second[number], strict=True))
        wrong = sum(p * z for p, z in zip(predicted, second[others[number]], strict=True))
        positive += max(0.0, 1 - right) / len(first)
        negative += max(0.0, 1 + wrong) / len(first)
    return positive, negative


@pytest.mark.parametrize(("shape", "patches"), [((5,), 1), ((3, 4, 4), 1), ((3, 4, 4), 2)])
def test_hinges_of_one_right_and_one_wrong_view_for_each_sample(shape: tuple[int, ...], patches: int) -> None:
    rule = drawn(make(CLAPP, layer_of(shape), patches=patches))
    output = draws(2 * SAMPLES, *shape, seed=1).relu().requires_grad_()
    view = LayerView(rule.layer, (), output, Batch(draws(SAMPLES, 1, 4, 4), LABELS, CLASSES))
    torch.manual_seed(4)
    others = other_samples(SAMPLES, output.device).tolist()
    assert sorted(others) == list(range(SAMPLES))
    assert all(other != number for number, other in enumerate(others))
    torch.manual_seed(4)
    losses = rule(view)
    features = pooled(output.detach(), patches).tolist()
    expected = by_hand(features[:SAMPLES], features[SAMPLES:], rule.prediction.weight.detach(), others)
    assert (losses["positive"].item(), losses["negative"].item()) == pytest.approx(expected, rel=1e-9)


def test_the_second_view_is_the_image_moved_by_a_few_pixels_with_noise() -> None:
    images = draws(SAMPLES, 2, 8, 8)
    batch = Batch(images, LABELS, CLASSES)
    still = make(CLAPP, layer_of((5,)), shift=0, noise=0).make_inputs(batch)
    assert torch.equal(still, torch.cat([images, images]))
    torch.manual_seed(0)
    moved = make(CLAPP, layer_of((5,)), shift=0.25, noise=0).make_inputs(batch)[SAMPLES:]
    inside = slice(2, 6)
    for image, other in zip(images, moved, strict=True):
        places = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(other[:, inside, inside], image[:, y : y + 4, x : x + 4])
        ]
        assert len(places) == 1
    assert not torch.equal(moved, images)
    noisy = make(CLAPP, layer_of((5,)), shift=0, noise=0.5).make_inputs(batch)[SAMPLES:]
    assert (noisy - images).std().item() == pytest.approx(0.5, rel=0.1)


def test_inputs_without_positions_get_noise_alone() -> None:
    vectors = draws(SAMPLES, 7)
    made = make(CLAPP, layer_of((5,)), noise=0).make_inputs(Batch(vectors, LABELS, CLASSES))
    assert torch.equal(made, torch.cat([vectors, vectors]))


def test_the_readout_learns_from_the_first_views_alone() -> None:
    session = perceptron(CLAPP)
    result = train_step(session, session.phases[0], 0)
    assert result.report.logits is not None
    assert len(result.report.logits) == len(result.labels) == session.config.batch_size
