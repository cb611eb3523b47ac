"""sim against its formula by hand."""

from __future__ import annotations

import statistics

import pytest
import torch
from helpers.one_layer import CLASSES, LABELS, SAMPLES, affine, drawn, layer_of, make, see
from torch import nn

from localrules_supervised.sim import Sim


def mismatch(samples: list[list[float]]) -> float:
    """The mean squared difference between cosines of samples and those of labels, pair by pair."""
    targets = [[float(label == number) for number in range(CLASSES)] for label in LABELS.tolist()]
    total = 0.0
    for i in range(SAMPLES):
        for j in range(SAMPLES):
            total += (cosine(samples[i], samples[j]) - cosine(targets[i], targets[j])) ** 2
    return total / SAMPLES**2


def cosine(a: list[float], b: list[float]) -> float:
    a, b = ([value - statistics.fmean(sample) for value in sample] for sample in (a, b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5


@pytest.mark.parametrize("projected", ["all", 512, 5])
def test_of_a_vector(projected: int | str) -> None:
    rule = drawn(make(Sim, layer_of((8,)), projected=projected))
    view = see(rule)
    (linear,) = [module for module in rule.projection.modules() if isinstance(module, nn.Linear)]
    assert linear.weight.shape == (5 if projected == 5 else 8, 8)
    assert linear.bias is None
    expected = mismatch(affine(view.output.tolist(), linear))
    assert rule(view).item() == pytest.approx(expected, rel=1e-5)


def test_of_feature_maps() -> None:
    rule = drawn(make(Sim, layer_of((5, 4, 3))))
    view = see(rule)
    assert isinstance(rule.projection, nn.Conv2d)
    assert rule.projection.weight.shape == (5, 5, 3, 3)
    kernel, maps = rule.projection.weight.detach(), view.output.detach()
    padded = torch.zeros(SAMPLES, 5, 6, 5, dtype=torch.float64)
    padded[:, :, 1:-1, 1:-1] = maps
    projected = [
        [
            [float((padded[n, :, y : y + 3, x : x + 3] * kernel[c]).sum()) for y in range(4) for x in range(3)]
            for c in range(5)
        ]
        for n in range(SAMPLES)
    ]
    stds = [[statistics.stdev(channel) for channel in sample] for sample in projected]
    assert rule(view).item() == pytest.approx(mismatch(stds), rel=1e-5)


def test_the_paper_s_form_has_a_square_projection() -> None:
    rule = make(Sim, layer_of((1024,)), **Sim.info.presets["paper"])
    assert sum(parameter.numel() for parameter in rule.parameters()) == 1024**2


def test_the_similarity_of_labels_is_computed_once_per_step() -> None:
    rule = drawn(make(Sim, layer_of((8,))))
    view = see(rule)
    first = rule(view)
    view.batch.labels = torch.zeros_like(view.labels)
    assert torch.equal(rule(view), first)
