"""forward-gradient: derivatives along random directions, group by group and cell by cell."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.one_layer import CLASSES, LABELS, SAMPLES, drawn, layer_of, make, see
from helpers.reference import pooled
from torch import Tensor
from torch.nn import functional

from localrules import LayerView
from localrules_supervised.forward_gradient import ForwardGradient


def set_up(shape: tuple[int, ...], **options: Any) -> tuple[ForwardGradient, LayerView]:
    rule = drawn(make(ForwardGradient, layer_of(shape), **options))
    return rule, see(rule)


def gradient_of(rule: ForwardGradient, view: LayerView, seed: int = 0) -> Tensor:
    """At the layer's output, with the direction that the seed gives."""
    torch.manual_seed(seed)
    return torch.autograd.grad(sum(rule(view).values(), torch.zeros(())), view.output)[0]


def exact(rule: ForwardGradient, view: LayerView, grid: int = 4) -> Tensor:
    """The gradient of the mean cross-entropy over groups, cells and samples, by autograd."""
    groups, _, size = rule.weight.shape
    features = pooled(view.output, grid).reshape(SAMPLES, groups, size, -1)
    losses = [
        functional.cross_entropy(features[:, group, :, cell] @ rule.weight[group].T + rule.bias[group, :, 0], LABELS)
        for group in range(groups)
        for cell in range(features.shape[3])
    ]
    return torch.autograd.grad(torch.stack(losses).mean(), view.output)[0]


@pytest.mark.parametrize("shape", [(6,), (6, 2, 2)])
def test_against_the_formula_written_out(shape: tuple[int, ...]) -> None:
    rule, view = set_up(shape, group=3, directions="normal")
    assert rule.weight.shape == (2, CLASSES, 3)
    found = gradient_of(rule, view)
    cells = math.prod(shape[1:])
    weight, bias = rule.weight.detach(), rule.bias.detach()
    torch.manual_seed(0)
    directions = torch.randn(SAMPLES, 2, 3, cells, dtype=torch.float64)
    activity = view.output.detach().reshape(SAMPLES, 2, 3, cells)
    expected = torch.zeros_like(activity)
    for sample in range(SAMPLES):
        for group in range(2):
            for cell in range(cells):
                z, v = activity[sample, group, :, cell], directions[sample, group, :, cell]
                logits = [float(weight[group, k] @ z + bias[group, k, 0]) for k in range(CLASSES)]
                total = sum(math.exp(logit) for logit in logits)
                slope = 0.0
                for k in range(CLASSES):
                    error = math.exp(logits[k]) / total - int(k == LABELS[sample])
                    slope += error * float(weight[group, k] @ v)
                expected[sample, group, :, cell] = slope * v / (SAMPLES * 2 * cells)
    torch.testing.assert_close(found, expected.view_as(found))


def test_one_unit_per_group_and_signs_give_the_exact_gradient() -> None:
    rule, view = set_up((6,), group=1, directions="signs")
    torch.testing.assert_close(gradient_of(rule, view), exact(rule, view))


@pytest.mark.slow
@pytest.mark.parametrize("directions", ["normal", "signs"])
@pytest.mark.parametrize("shape", [(6,), (4, 8, 8)])
def test_on_average_it_is_the_gradient(shape: tuple[int, ...], directions: str) -> None:
    rule, view = set_up(shape, group=2, directions=directions)
    mean = sum(gradient_of(rule, view, seed) for seed in range(150)) / 150
    expected = exact(rule, view)
    assert torch.cosine_similarity(mean.flatten(), expected.flatten(), 0) > 0.94
    assert mean.norm().item() == pytest.approx(expected.norm().item(), rel=0.2)


def test_the_heads_have_their_exact_gradient_and_the_estimate_adds_nothing_to_the_loss() -> None:
    rule, view = set_up((6,), group=3)
    losses = rule(view)
    assert losses["estimate"].item() == 0
    found = torch.autograd.grad(sum(losses.values(), torch.zeros(())), [rule.weight, rule.bias])
    features = view.output.detach().view(SAMPLES, 2, 3)
    loss = torch.stack(
        [functional.cross_entropy(features[:, g] @ rule.weight[g].T + rule.bias[g, :, 0], LABELS) for g in range(2)]
    ).mean()
    assert losses["heads"].item() == pytest.approx(loss.item())
    for one, other in zip(found, torch.autograd.grad(loss, [rule.weight, rule.bias]), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("channels", "size"), [(1024, 16), (12, 12), (26, 13), (97, 1)])
def test_groups_are_equal(channels: int, size: int) -> None:
    rule = make(ForwardGradient, layer_of((channels,)), group=16)
    assert rule.weight.shape == (channels // size, CLASSES, size)
