"""pred against its formula by hand."""

from __future__ import annotations

import math

import pytest
import torch
from one_layer import CLASSES, affine, cross_entropy, layer_of, see
from slow import pooled
from torch import nn

from localrules_supervised.heads import LinearHead, halved_grid
from localrules_supervised.pred import Pred


@pytest.mark.parametrize(("shape", "grid"), [((7,), None), ((3, 4, 4), None), ((3, 8, 8), 4), ((9, 8, 8), 2)])
def test_cross_entropy_of_a_linear_decoder_on_averaged_maps(shape: tuple[int, ...], grid: int | None) -> None:
    rule = Pred(Pred.Config(features=48))
    view = see(rule, layer_of(shape))
    assert isinstance(view.auxiliary, LinearHead)
    rows = pooled(view.output.detach(), grid).tolist()
    assert rule.loss(view).item() == pytest.approx(cross_entropy(affine(rows, view.auxiliary.linear)), rel=1e-6)


@pytest.mark.parametrize(
    ("shape", "features", "grid"),
    [
        ((128, 32, 32), 2048, 4),
        ((512, 4, 4), 2048, 2),
        ((64, 24, 24), 2048, 3),
        ((11, 24, 24), 2048, 12),
        ((4096, 2, 2), 2048, 1),
        ((128, 4, 4), 2048, None),
        ((5000,), 2048, None),
    ],
)
def test_the_sides_of_a_map_are_halved_until_it_is_small_enough(
    shape: tuple[int, ...], features: int, grid: int | None
) -> None:
    assert halved_grid(shape, features) == grid


@pytest.mark.parametrize("shape", [(7,), (3, 8, 8)])
def test_a_new_decoder_has_no_opinion_and_does_not_pull_at_the_layer(shape: tuple[int, ...]) -> None:
    rule, layer = Pred(), layer_of(shape)
    view = see(rule, layer)
    view.auxiliary = rule.auxiliary(layer, CLASSES).double()
    loss = rule.loss(view)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(CLASSES))
    assert view.output.grad is not None
    assert not view.output.grad.any()
    assert any(bool(parameter.grad.any()) for parameter in view.auxiliary.parameters())


def test_the_decoder_looks_as_finely_whatever_the_readers_see() -> None:
    rule = Pred()
    heads = [rule.auxiliary(layer_of((4, 8, 8), pool_size=pool_size), CLASSES) for pool_size in (None, 1)]
    sizes = [next(module.in_features for module in head.modules() if isinstance(module, nn.Linear)) for head in heads]
    assert sizes == [256, 256]
    assert all(head(torch.zeros(2, 4, 8, 8)).shape == (2, CLASSES) for head in heads)
