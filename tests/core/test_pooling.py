"""Averages over a grid, and the gradients that they send back."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from localrules.core.nn.pooling import pool, pool_flat, pooled_features


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels last", "rows"])
@pytest.mark.parametrize(
    ("sides", "grid"), [((8, 8), 4), ((6, 6), 4), ((7, 5), 3), ((6, 4), 1), ((5, 5), 1), ((9, 1), 4), ((8, 2), 4)]
)
def test_value_and_gradient_are_those_of_torch_and_the_gradient_lies_like_the_maps(
    layout: torch.memory_format, sides: tuple[int, int], grid: int
) -> None:
    draws = torch.Generator().manual_seed(0)
    values = torch.randn(3, 5, *sides, generator=draws, dtype=torch.float64).contiguous(memory_format=layout)
    cells = (min(grid, sides[0]), min(grid, sides[1]))  # a side with fewer pixels keeps them
    weights = torch.randn(3, 5 * cells[0] * cells[1], generator=draws, dtype=torch.float64)
    gradients = []
    for average, size in ((pool, grid), (functional.adaptive_avg_pool2d, cells)):
        # Asked of what is not a leaf: a leaf's gradient is laid out like the leaf in any case.
        maps = values.clone().requires_grad_() * 1
        maps.register_hook(gradients.append)
        pooled = average(maps, size)
        torch.testing.assert_close(pooled, functional.adaptive_avg_pool2d(values, cells))
        pooled.flatten(1).backward(weights)
    ours, torchs = gradients
    torch.testing.assert_close(ours, torchs)
    assert ours.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels last", "rows"])
@pytest.mark.parametrize(("sides", "grid"), [((8, 8), 4), ((7, 5), 3), ((6, 4), 1)])
def test_without_gradients_the_bits_are_the_same(
    layout: torch.memory_format, sides: tuple[int, int], grid: int
) -> None:
    maps = torch.randn(3, 5, *sides).contiguous(memory_format=layout)
    with torch.no_grad():
        alone = pool(maps, grid)
    assert torch.equal(alone, pool(maps.requires_grad_(), grid))


@pytest.mark.parametrize("shape", [(5, 8, 8), (5, 6, 6), (5, 3, 9), (5, 9, 1), (5, 2, 2), (5,), (5, 4)])
@pytest.mark.parametrize("grid", [None, 1, 4])
def test_as_many_features_as_foretold(shape: tuple[int, ...], grid: int | None) -> None:
    assert pool_flat(torch.zeros(2, *shape), grid).shape == (2, pooled_features(shape, grid))
