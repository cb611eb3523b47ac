"""Histograms of tensors: every finite value is counted once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from localrules.callbacks.results import Histogram


def test_counts_are_those_of_numpy() -> None:
    values = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    found = Histogram.of(values)
    assert found is not None
    counts, edges = np.histogram(values.double().numpy(), bins=64)
    assert sum(found.counts) == 5000
    assert np.abs(np.array(found.counts) - counts).sum() <= 4  # of values within float32's rounding of an edge
    assert found.edges == pytest.approx(edges)


def test_a_bin_holds_more_values_than_float32_counts() -> None:
    found = Histogram.of(torch.cat([torch.zeros(2**24 + 7), torch.ones(10)]))
    assert found is not None
    assert (found.counts[0], found.counts[-1]) == (2**24 + 7, 10)


def test_values_whose_range_no_float32_holds_are_counted() -> None:
    found = Histogram.of(torch.tensor([-3e38, 0.0, 3e38, float("nan"), float("inf")]))
    assert found is not None
    assert (found.counts[0], found.counts[32], found.counts[-1], sum(found.counts)) == (1, 1, 1, 3)


@pytest.mark.parametrize("value", [torch.finfo(torch.float32).max, -torch.finfo(torch.float32).max, 1e-45])
def test_equal_values_at_the_ends_of_float32_are_in_one_bin(value: float) -> None:
    found = Histogram.of(torch.full((9,), value))
    assert found is not None
    assert (found.counts[0], sum(found.counts)) == (9, 9)


def test_equal_values_are_in_one_bin_and_values_that_are_not_finite_in_none() -> None:
    found = Histogram.of(torch.full((9,), 0.5))
    assert found is not None
    assert found.counts[0] == 9
    assert Histogram.of(torch.tensor([float("nan")])) is None
