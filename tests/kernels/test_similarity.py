"""Similarity matching: sample against sample, written out."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch import Tensor

from localrules.errors import UsageError
from localrules.kernels.hsic import phsic
from localrules.kernels.similarity import labels_similarity, similarity, similarity_loss


def draws(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def plain_pytorch_step(rows: list[list[float]]) -> Tensor:
    """Each row less its own mean; the cosine of every two, one by one."""
    centred = [[value - sum(row) / len(row) for value in row] for row in rows]
    return torch.tensor(
        [
            [
                sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
                for b in centred
            ]
            for a in centred
        ],
        dtype=torch.float64,
    )


@pytest.mark.parametrize("shape", [(6, 9), (6, 3, 4, 4), (6, 5, 1, 1)])
def test_cosines_of_what_remains_without_the_mean_of_its_own_features(shape: tuple[int, ...]) -> None:
    x = draws(*shape)
    torch.testing.assert_close(similarity(x), plain_pytorch_step(x.flatten(1).tolist()))


def test_maps_of_more_than_three_channels_are_compared_by_the_spread_of_each() -> None:
    maps = draws(5, 4, 3, 2)
    spreads = [[statistics.stdev(channel.flatten().tolist()) for channel in sample] for sample in maps]
    torch.testing.assert_close(similarity(maps), plain_pytorch_step(spreads))


def test_labels_are_alike_within_a_class_and_equally_unlike_between_classes() -> None:
    expected = torch.full((4, 4), -1 / 4)
    expected[0, 3] = expected[3, 0] = 1
    expected.fill_diagonal_(1)
    torch.testing.assert_close(labels_similarity(torch.tensor([2, 0, 1, 2]), 5), expected)


def test_mismatch_is_the_mean_of_squared_differences() -> None:
    a, b = draws(4, 4), draws(5, 4)[1:]
    expected = sum((a[i, j] - b[i, j]) ** 2 for i in range(4) for j in range(4)) / 16
    torch.testing.assert_close(similarity_loss(a, b), expected)


def test_it_is_phsic_but_for_the_means() -> None:
    z, y = similarity(draws(8, 5)), labels_similarity(torch.arange(8) % 3, 3).double()
    expected = phsic(z, z) - 2 * phsic(y, z) + phsic(y, y) + (z.mean() - y.mean()) ** 2
    torch.testing.assert_close(similarity_loss(z, y), expected)


@pytest.mark.parametrize("shape", [(5, 6), (5, 4, 2, 2)])
def test_gradients(shape: tuple[int, ...]) -> None:
    target = labels_similarity(torch.tensor([0, 1, 2, 0, 1]), 3).double()
    x = draws(*shape).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: similarity_loss(similarity(x), target), x)


@pytest.mark.parametrize("shape", [(4, 6), (4, 5, 3, 3)])
def test_a_sample_without_features_of_its_own_is_like_no_other_and_learns_nothing(shape: tuple[int, ...]) -> None:
    x = draws(*shape).float()
    x[1] = 2.5
    x.requires_grad_()
    found = similarity(x)
    similarity_loss(found, torch.eye(4)).backward()
    assert found[1].tolist() == [0, 0, 0, 0]
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not x.grad[1].any()


def test_no_entry_leaves_the_interval_and_half_precision_is_computed_in_single() -> None:
    direction = draws(1, 300)
    parallel = (torch.arange(1, 9)[:, None] * direction).to(torch.bfloat16)
    found = similarity(parallel)
    assert found.dtype == torch.float32
    assert found.max() <= 1
    torch.testing.assert_close(found, torch.ones(8, 8), rtol=0, atol=1e-2)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        similarity(torch.zeros(1, 3))
    with pytest.raises(UsageError, match="same batch"):
        similarity_loss(torch.zeros(2, 2), torch.zeros(3, 3))
