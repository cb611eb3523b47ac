"""A network that runs again on the same batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from localrules.core.repeating import same_draws, still_statistics

IMAGES = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_norm_normalises_by_the_batch_and_does_not_count_it(momentum: float | None) -> None:
    norm = nn.BatchNorm2d(3, momentum=momentum)
    first = norm(IMAGES)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    with still_statistics(norm):
        again = norm(IMAGES)
        other = norm(2 * IMAGES + 1)
    assert torch.equal(again, first)
    assert not torch.equal(other, 2 * IMAGES + 1)
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert norm.momentum == momentum


def test_the_same_seed_draws_the_same_and_leaves_later_draws_alone() -> None:
    drop, device = nn.Dropout(), IMAGES.device
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    with same_draws(5, device):
        first = drop(IMAGES)
    with same_draws(5, device):
        again = drop(IMAGES)
    with same_draws(6, device):
        other = drop(IMAGES)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(3), expected)
