"""A network that runs again on the same batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from localrules.utils.torch_utils import RngSnapshot, freeze_batchnorm_stats

IMAGES = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_batch_norm_normalises_by_the_batch_and_does_not_count_it(momentum: float | None) -> None:
    norm = nn.BatchNorm2d(3, momentum=momentum)
    first = norm(IMAGES)
    before = {name: buffer.clone() for name, buffer in norm.named_buffers()}
    with freeze_batchnorm_stats(norm):
        again = norm(IMAGES)
        other = norm(2 * IMAGES + 1)
    assert torch.equal(again, first)
    assert not torch.equal(other, 2 * IMAGES + 1)
    for name, buffer in norm.named_buffers():
        assert torch.equal(buffer, before[name]), name
    assert norm.momentum == momentum


def test_what_was_drawn_is_drawn_again_and_later_draws_are_left_alone() -> None:
    drop = nn.Dropout()
    draws = RngSnapshot(IMAGES.device)
    first = drop(IMAGES)
    expected = torch.rand(3, generator=torch.Generator().set_state(torch.get_rng_state()))
    for _ in range(2):
        with draws.replay():
            assert torch.equal(drop(IMAGES), first)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(drop(IMAGES), first)
