"""local-ce against its formula by hand."""

from __future__ import annotations

import math

import pytest
import torch
from slow import pooled
from torch import nn

from localrules import Layer, LayerView
from localrules.core.view import Batch
from localrules_supervised.local_ce import LocalCrossEntropy


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
    objective = LocalCrossEntropy(LocalCrossEntropy.Config(grid=grid))
    layer = Layer("layer", nn.Identity(), pool_size=pool_size, out_shapes=(shape,))
    auxiliary = objective.auxiliary(layer, 5)
    (head,) = auxiliary[1]  # one matrix
    assert head.weight.shape == (5, features)
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        head.weight.copy_(torch.randn(5, features, generator=draws))
        head.bias.copy_(torch.randn(5, generator=draws))
    output = torch.randn(6, *shape, generator=draws).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, 4, 0])
    loss = objective.loss(LayerView(layer, (), output, Batch(output, labels, 5), auxiliary))

    rows = pooled(output.detach().double(), pool_size or grid).tolist()
    total = 0.0
    for row, label in zip(rows, labels.tolist(), strict=True):
        logits = [
            sum(w * x for w, x in zip(weights, row, strict=True)) + bias
            for weights, bias in zip(head.weight.tolist(), head.bias.tolist(), strict=True)
        ]
        total += math.log(sum(math.exp(logit) for logit in logits)) - logits[label]
    assert loss.item() == pytest.approx(total / 6, rel=1e-5)


def test_a_new_classifier_has_no_opinion() -> None:
    objective = LocalCrossEntropy(LocalCrossEntropy.Config())
    layer = Layer("layer", nn.Identity(), out_shapes=((7,),))
    head = objective.auxiliary(layer, 4)
    output = torch.randn(3, 7)
    loss = objective.loss(LayerView(layer, (), output, Batch(output, torch.tensor([0, 1, 2]), 4), head))
    assert loss.item() == pytest.approx(math.log(4))


def test_outputs_of_any_shape_fit_their_classifier() -> None:
    objective = LocalCrossEntropy(LocalCrossEntropy.Config(grid=4))
    for shape in ((2, 8, 2), (2, 3, 9), (2, 5, 4), (2, 6, 6), (9, 16), (2, 6, 6, 6)):
        layer = Layer("layer", nn.Identity(), out_shapes=(shape,))
        output = torch.randn(3, *shape)
        view = LayerView(layer, (), output, Batch(output, torch.zeros(3).long(), 4), objective.auxiliary(layer, 4))
        assert math.isfinite(objective.loss(view).item())


def test_with_inputs_the_classifier_sees_what_an_accompanied_layer_read() -> None:
    objective = LocalCrossEntropy(LocalCrossEntropy.Config(inputs=True, hidden=6))
    layer = Layer("layer", nn.Identity(), inputs_visible_downstream=True, in_shape=(5, 8, 8), out_shapes=((3, 8, 8),))
    auxiliary = objective.auxiliary(layer, 4)
    head = auxiliary[1]
    assert [tuple(part.weight.shape) for part in head if isinstance(part, nn.Linear)] == [(6, 8 * 16), (4, 6)]
    nn.init.normal_(head[-1].weight)
    inputs, output = (torch.randn(6, 2, 8, 8), torch.randn(6, 3, 8, 8)), torch.randn(6, 3, 8, 8)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    loss = objective.loss(LayerView(layer, inputs, output, Batch(output, labels, 4), auxiliary))
    seen = torch.cat([pooled(tensor, 4) for tensor in (*inputs, output)], 1)
    assert loss.item() == pytest.approx(nn.functional.cross_entropy(head(seen), labels).item())


def test_a_layer_whose_readers_see_it_alone_is_classified_alone() -> None:
    objective = LocalCrossEntropy(LocalCrossEntropy.Config(inputs=True))
    layer = Layer("layer", nn.Identity(), in_shape=(5, 8, 8), out_shapes=((3, 8, 8),))
    assert objective.auxiliary(layer, 4)[1][0].in_features == 48


def test_with_vote_the_classifiers_have_a_say() -> None:
    layer = Layer("layer", nn.Identity(), out_shapes=((3, 8, 8),))
    output = torch.randn(6, 3, 8, 8)
    voting = LocalCrossEntropy(LocalCrossEntropy.Config(vote=True))
    head = voting.auxiliary(layer, 4)
    nn.init.normal_(head[-1][-1].weight)
    view = LayerView(layer, (), output, Batch(output, torch.empty(0, dtype=torch.int64), 4), head)
    vote = voting.vote(view)
    assert vote is not None
    torch.testing.assert_close(vote, head[-1](pooled(output, 4)))
    assert LocalCrossEntropy().vote(view) is None
