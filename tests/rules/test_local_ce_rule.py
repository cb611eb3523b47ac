"""local-ce against its formula by hand."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.one_layer import CLASSES, affine, cross_entropy, drawn, draws, layer_of, make, see
from helpers.reference import pooled
from torch import nn

from localrules import Batch, Layer, LayerView
from localrules_supervised.local_ce import LocalCrossEntropy

DENSE = Layer("layer", nn.Identity(), inputs_visible_downstream=True, in_shape=(5, 8, 8), out_shapes=((3, 8, 8),))
ALONE = Layer("layer", nn.Identity(), in_shape=(5, 8, 8), out_shapes=((3, 8, 8),))


@pytest.mark.parametrize(
    ("shape", "grid", "pool_size", "features"),
    [
        ((3, 8, 8), 4, None, 48),
        ((3, 8, 8), 2, None, 12),
        ((3, 8, 8), 4, 1, 3),
        ((3, 4, 4), 4, None, 48),
        ((3, 2, 2), 4, None, 12),
        ((7,), 4, None, 7),
    ],
)
def test_cross_entropy_of_a_linear_classifier_on_the_pooled_output(
    shape: tuple[int, ...], grid: int, pool_size: int | None, features: int
) -> None:
    rule = drawn(make(LocalCrossEntropy, layer_of(shape, pool_size=pool_size), grid=grid))
    (linear,) = rule.classifier
    assert linear.weight.shape == (CLASSES, features)
    view = see(rule)
    logits = affine(pooled(view.output.detach(), pool_size or grid).tolist(), linear)
    assert rule(view).item() == pytest.approx(cross_entropy(logits), rel=1e-5)


def test_a_new_classifier_predicts_nothing() -> None:
    rule = make(LocalCrossEntropy, layer_of((7,))).double()
    assert rule(see(rule)).item() == pytest.approx(math.log(CLASSES))


@pytest.mark.parametrize("shape", [(2, 8, 2), (2, 3, 9), (2, 5, 4), (2, 6, 6), (9, 16), (2, 6, 6, 6)])
def test_outputs_of_any_shape_fit_their_classifier(shape: tuple[int, ...]) -> None:
    rule = make(LocalCrossEntropy, layer_of(shape)).double()
    assert rule(see(rule)).item() == pytest.approx(math.log(CLASSES))


def test_with_inputs_the_classifier_reads_the_inputs_that_its_readers_see_too() -> None:
    rule = drawn(make(LocalCrossEntropy, DENSE, inputs=True, hidden=6))
    linears = [part for part in rule.classifier if isinstance(part, nn.Linear)]
    assert [tuple(linear.weight.shape) for linear in linears] == [(6, 8 * 16), (CLASSES, 6)]
    inputs, view = tuple(draws(6, channels, 8, 8, seed=channels) for channels in (2, 3)), see(rule)
    view.inputs = inputs
    features = torch.cat([pooled(tensor, 4) for tensor in (*inputs, view.output)], 1)
    expected = cross_entropy(rule.classifier(features).tolist())
    assert rule(view).item() == pytest.approx(expected)


def test_a_layer_whose_readers_see_it_alone_is_classified_alone() -> None:
    assert make(LocalCrossEntropy, ALONE, inputs=True).classifier[0].in_features == 48


def test_with_vote_the_classifiers_predict_too() -> None:
    voting = drawn(make(LocalCrossEntropy, ALONE, vote=True))
    output = draws(6, 3, 8, 8)
    view = LayerView(voting.layer, (), output, Batch(output, torch.empty(0, dtype=torch.int64), CLASSES))
    logits = voting.layer_logits(view)
    assert logits is not None
    torch.testing.assert_close(logits, voting.classifier(pooled(output, 4)))
    assert make(LocalCrossEntropy, ALONE).layer_logits(view) is None
