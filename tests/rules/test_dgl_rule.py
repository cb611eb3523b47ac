"""dgl's head, one number at a time."""

from __future__ import annotations

import pytest
import torch
from one_layer import CLASSES, ROWS, affine, cross_entropy, draws, layer_of, normalised, rectified, see
from torch import Tensor, nn

from localrules_supervised.dgl import DGL


def of_kind(module: nn.Module | None, kind: type) -> list:
    assert module is not None
    return [part for part in module.modules() if isinstance(part, kind)]


def perceptron(rows: list[list[float]], head: nn.Module | None) -> list[list[float]]:
    """Three matrices; batch norm and relu behind two of them."""
    matrices = of_kind(head, nn.Linear)
    assert len(matrices) == 3
    for matrix, norm in zip(matrices, of_kind(head, nn.BatchNorm1d), strict=False):
        rows = rectified(normalised(affine(rows, matrix), norm))
    return affine(rows, matrices[-1])


def test_a_perceptron_of_three_layers_on_vectors() -> None:
    rule = DGL(DGL.Config(hidden=5))
    view = see(rule, layer_of((8,)))
    expected = cross_entropy(perceptron(view.output.tolist(), view.auxiliary))
    assert rule.loss(view).item() == pytest.approx(expected, rel=1e-5)


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


def test_three_convolutions_on_shrunk_maps_then_the_perceptron() -> None:
    rule = DGL(DGL.Config(hidden=5))
    view = see(rule, layer_of((3, 16, 16)))
    pixels = shrunk(view.output.detach(), 4).permute(0, 2, 3, 1).reshape(-1, 3).tolist()
    convolutions, norms = of_kind(view.auxiliary, nn.Conv2d), of_kind(view.auxiliary, nn.BatchNorm2d)
    assert len(convolutions) == 3
    for convolution, norm in zip(convolutions, norms, strict=True):
        matrix = nn.Linear(3, 3, bias=False).double()
        matrix.weight.data.copy_(convolution.weight[:, :, 0, 0])
        pixels = rectified(normalised(affine(pixels, matrix), norm))
    maps = torch.tensor(pixels, dtype=torch.float64).reshape(ROWS, 4, 4, 3).permute(0, 3, 1, 2)
    logits = perceptron(shrunk(maps, 2).reshape(ROWS, -1).tolist(), view.auxiliary)
    assert rule.loss(view).item() == pytest.approx(cross_entropy(logits), rel=1e-5)


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
    head = DGL(DGL.Config(hidden=hidden)).auxiliary(layer_of(shape), CLASSES)
    first = of_kind(head, nn.Linear)[0]
    assert (first.in_features, first.out_features) == widths
    assert head(draws(2, *shape).float()).shape == (2, CLASSES)
