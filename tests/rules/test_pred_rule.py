"""pred against its formula by hand."""

from __future__ import annotations

import math

import pytest
from helpers.one_layer import CLASSES, affine, cross_entropy, drawn, layer_of, make, see
from helpers.reference import pooled

from localrules_supervised.heads import halved_grid
from localrules_supervised.pred import Pred


@pytest.mark.parametrize(("shape", "grid"), [((7,), None), ((3, 4, 4), None), ((3, 8, 8), 4), ((9, 8, 8), 2)])
def test_cross_entropy_of_a_linear_decoder_on_averaged_maps(shape: tuple[int, ...], grid: int | None) -> None:
    rule = drawn(make(Pred, layer_of(shape), features=48))
    view = see(rule)
    (linear,) = rule.decoder
    samples = pooled(view.output.detach(), grid).tolist()
    assert rule(view).item() == pytest.approx(cross_entropy(affine(samples, linear)), rel=1e-6)


@pytest.mark.parametrize(
    ("shape", "features", "grid"),
    [
        ((128, 32, 32), 2048, 4),
        ((512, 4, 4), 2048, 2),
        ((64, 24, 24), 2048, 3),
        ((11, 24, 24), 2048, 12),
        ((4096, 2, 2), 2048, 1),
        ((192, 65, 1), 2048, 9),
        ((128, 4, 4), 2048, None),
        ((5000,), 2048, None),
    ],
)
def test_the_sides_of_a_feature_map_are_halved_until_it_is_small_enough(
    shape: tuple[int, ...], features: int, grid: int | None
) -> None:
    assert halved_grid(shape, features) == grid


@pytest.mark.parametrize("shape", [(7,), (3, 8, 8)])
def test_a_new_decoder_predicts_nothing_and_leaves_the_layer_without_gradient(shape: tuple[int, ...]) -> None:
    rule = make(Pred, layer_of(shape)).double()
    view = see(rule)
    loss = rule(view)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(CLASSES))
    assert view.output.grad is not None
    assert not view.output.grad.any()
    assert any(bool(parameter.grad.any()) for parameter in rule.parameters())


def test_the_decoder_reads_feature_maps_as_finely_whatever_the_readers_see() -> None:
    for pool_size in (None, 1):
        rule = make(Pred, layer_of((4, 8, 8), pool_size=pool_size))
        assert rule.decoder[0].in_features == 256
        assert rule(see(rule.double())).item() == pytest.approx(math.log(CLASSES))
