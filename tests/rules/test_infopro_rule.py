"""infopro's two losses by hand, and their weights."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.digits import learn_digits
from helpers.one_layer import LABELS, SAMPLES, affine, cross_entropy, drawn, draws, layer_of, make, rectified, see
from helpers.tiny_sessions import dense
from torch import Tensor, nn

from localrules import LayerView, UsageError
from localrules_supervised.infopro import InfoPro, supervised_contrast


def contrast(samples: list[list[float]], labels: list[int], temperature: float) -> float:
    """Sample by sample, partner by partner."""
    lengths = [math.sqrt(sum(x * x for x in sample)) for sample in samples]
    m, total = len(samples), 0.0
    scores = [
        [sum(x * y for x, y in zip(samples[i], samples[j], strict=True)) / lengths[i] / lengths[j] for j in range(m)]
        for i in range(m)
    ]
    for i in range(m):
        others = [math.exp(scores[i][j] / temperature) for j in range(m) if j != i]
        partners = [j for j in range(m) if j != i and labels[j] == labels[i]]
        for j in partners:
            total -= (scores[i][j] / temperature - math.log(sum(others))) / len(partners)
    return total / m


def head_of(rule: InfoPro, view: LayerView) -> list[list[float]]:
    """Two linear layers with a ReLU between, on a vector."""
    first, second = [module for module in rule.head if isinstance(module, nn.Linear)]
    return affine(rectified(affine(view.output.tolist(), first)), second)


def reconstruction_loss(logits: list[list[float]], images: Tensor) -> float:
    """The binary cross-entropy of images whose smallest value counts as 0 and whose largest as 1."""
    low, high = float(images.min()), float(images.max())
    total = count = 0.0
    for sample, wanted in zip(logits, images.flatten(1).tolist(), strict=True):
        for logit, value in zip(sample, wanted, strict=True):
            brightness, found = (value - low) / (high - low), 1 / (1 + math.exp(-logit))
            total -= brightness * math.log(found) + (1 - brightness) * math.log(1 - found)
            count += 1
    return total / count


@pytest.mark.parametrize("task", ["contrast", "softmax"])
def test_of_a_vector(task: str) -> None:
    options = {"task": task, "features": 5, "reconstruct": (1, 1), "classify": (1, 1), "temperature": 0.5}
    rule = drawn(make(InfoPro, layer_of((7,), in_shape=(1, 2, 2)), **options))
    images = draws(SAMPLES, 1, 2, 2, seed=9)
    view = see(rule, images=images)
    found = rule(view)
    decoder = rule.decoder[-1]
    assert found["reconstruction"].item() == pytest.approx(
        reconstruction_loss(affine(view.output.tolist(), decoder), images), rel=1e-5
    )
    samples = head_of(rule, view)
    expected = cross_entropy(samples) if task == "softmax" else contrast(samples, LABELS.tolist(), 0.5)
    assert found["task"].item() == pytest.approx(expected, rel=1e-5)


def test_feature_maps_are_decoded_at_the_image_s_size() -> None:
    rule = drawn(make(InfoPro, layer_of((3, 4, 5), in_shape=(2, 9, 11)), reconstruct=(1, 1)))
    images = draws(SAMPLES, 2, 9, 11, seed=9)
    view = see(rule, images=images)
    logits = rule.decoder(view.output)
    assert logits.shape == images.shape
    assert [module.out_channels for module in rule.decoder.modules() if isinstance(module, nn.Conv2d)] == [12, 2]
    expected = reconstruction_loss(logits.flatten(1).tolist(), images)
    assert rule(view)["reconstruction"].item() == pytest.approx(expected, rel=1e-4)


def test_weights_move_in_equal_steps_from_the_first_layer_to_the_last() -> None:
    layers = [layer_of((7,), in_shape=(4,), index=index) for index in (2, 3, 5)]
    for layer, reconstruct, classify in zip(layers, (5.0, 2.6, 0.2), (0.05, 0.275, 0.5), strict=True):
        plain = drawn(make(InfoPro, layer, peers=layers, reconstruct=(1, 1), classify=(1, 1)))
        rule = drawn(make(InfoPro, layer, peers=layers))
        alone, found = plain(see(plain)), rule(see(rule))
        assert found["reconstruction"].item() == pytest.approx(reconstruct * alone["reconstruction"].item())
        assert found["task"].item() == pytest.approx(classify * alone["task"].item())


def test_a_sample_that_is_alone_in_its_class_counts_as_zero() -> None:
    features = draws(5, 4)
    labels = torch.tensor([0, 0, 1, 2, 0])
    expected = contrast(features.tolist(), labels.tolist(), 0.1)
    assert supervised_contrast(features, labels, 0.1).item() == pytest.approx(expected)
    assert supervised_contrast(features, torch.arange(5), 0.1).item() == 0


def test_contrast_has_finite_gradients_where_features_are_none_or_all_the_same() -> None:
    for features in (
        torch.zeros(4, 3),
        torch.ones(4, 3),
        torch.ones(4, 3) * torch.tensor([[0.0], [1.0], [1.0], [2.0]]),
    ):
        features.requires_grad_()
        supervised_contrast(features, torch.tensor([0, 0, 1, 1]), 0.07).backward()
        assert features.grad is not None
        assert features.grad.isfinite().all()


def test_images_of_another_size_than_the_first_are_refused() -> None:
    rule = drawn(make(InfoPro, layer_of((7,), in_shape=(1, 3, 3))))
    with pytest.raises(UsageError, match="'infopro' cannot learn from samples of this shape") as found:
        rule(see(rule, images=draws(SAMPLES, 1, 2, 2)))
    assert "[1, 3, 3]" in found.value.why
    assert "[1, 2, 2]" in found.value.where


def test_every_layer_of_a_dense_network_reconstructs_the_image() -> None:
    session = dense(InfoPro)
    for layer, objective in zip(session.network.hidden, session.rule.objectives.values(), strict=True):
        assert objective.decoder(torch.zeros(2, *layer.out_shape)).shape == (2, 1, 16, 16)


def test_cross_entropy_learns_too() -> None:
    assert learn_digits(InfoPro, rule_options={"task": "softmax"}, epochs=4) > 0.9
