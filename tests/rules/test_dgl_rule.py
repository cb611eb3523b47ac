"""dgl's head, one number at a time."""

from __future__ import annotations

import pytest
import torch
from helpers.one_layer import (
    CLASSES,
    SAMPLES,
    affine,
    cross_entropy,
    drawn,
    draws,
    layer_of,
    make,
    normalised,
    rectified,
    see,
)
from torch import Tensor, nn

from localrules_supervised.dgl import DGL


def of_kind(module: nn.Module, kind: type) -> list:
    return [part for part in module.modules() if isinstance(part, kind)]


def perceptron(samples: list[list[float]], head: nn.Module) -> list[list[float]]:
    """Three linear layers; batch norm and ReLU after two of them."""
    matrices = of_kind(head, nn.Linear)
    assert len(matrices) == 3
    for matrix, norm in zip(matrices, of_kind(head, nn.BatchNorm1d), strict=False):
        samples = rectified(normalised(affine(samples, matrix), norm))
    return affine(samples, matrices[-1])


def test_a_perceptron_of_three_layers_on_vectors() -> None:
    rule = drawn(make(DGL, layer_of((8,)), hidden=5))
    view = see(rule)
    expected = cross_entropy(perceptron(view.output.tolist(), rule.head))
    assert rule(view).item() == pytest.approx(expected, rel=1e-5)


def shrunk(maps: Tensor, side: int) -> Tensor:
    """Means over cells, where cells divide the map."""
    cell = maps.shape[2] // side
    return torch.stack(
        [
            maps[:, :, y * cell : (y + 1) * cell, x * cell : (x + 1) * cell].mean((2, 3))
            for y in range(side)
            for x in range(side)
        ],
        2,
    ).reshape(*maps.shape[:2], side, side)


def test_three_convolutions_on_averaged_feature_maps_then_the_perceptron() -> None:
    rule = drawn(make(DGL, layer_of((3, 16, 16)), hidden=5))
    view = see(rule)
    pixels = shrunk(view.output.detach(), 4).permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    convolutions, norms = of_kind(rule.head, nn.Conv2d), of_kind(rule.head, nn.BatchNorm2d)
    assert len(convolutions) == 3
    for convolution, norm in zip(convolutions, norms, strict=True):
        matrix = nn.Linear(3, 3, bias=False).double()
        matrix.weight.data.copy_(convolution.weight[:, :, 0, 0])
        pixels = rectified(normalised(affine(pixels, matrix), norm))
    maps = torch.tensor(pixels, dtype=torch.float64).reshape(SAMPLES, 4, 4, 3).permute(0, 3, 1, 2)
    logits = perceptron(shrunk(maps, 2).reshape(SAMPLES, -1).tolist(), rule.head)
    assert rule(view).item() == pytest.approx(cross_entropy(logits), rel=1e-5)


@pytest.mark.parametrize(
    ("shape", "hidden", "widths"),
    [
        ((512,), 256, (512, 256)),
        ((512,), "all", (512, 512)),
        ((8,), 256, (8, 8)),
        ((64, 32, 32), "all", (256, 256)),
        ((64, 4, 4), "all", (64, 64)),
        ((64, 9, 5), "all", (256, 256)),
    ],
)
def test_widths(shape: tuple[int, ...], hidden: int | str, widths: tuple[int, int]) -> None:
    head = make(DGL, layer_of(shape), hidden=hidden).head
    first = of_kind(head, nn.Linear)[0]
    assert (first.in_features, first.out_features) == widths
    assert head(draws(2, *shape).float()).shape == (2, CLASSES)
