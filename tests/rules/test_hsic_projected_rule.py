"""hsic-projected against its formula, written out slowly in float64."""

from __future__ import annotations

import math

import pytest
import torch
from digits import learn_digits
from slow import kernel, labels_kernel, pooled, trace_form
from torch import Tensor, nn

from localrules import Layer, LayerView
from localrules.core.view import Batch
from localrules_hsic.hsic_projected import ProjectedHSIC

LABELS = torch.tensor([0, 1, 2, 0, 1, 1])
DENSE = Layer("dense", nn.Identity(), inputs_visible_downstream=True, in_shape=(5, 8, 8), out_shapes=((3, 8, 8),))
ALONE = Layer("alone", nn.Identity(), in_shape=(5, 8, 8), out_shapes=((3, 8, 8),))


def see(layer: Layer, objective: ProjectedHSIC, labels: Tensor = LABELS) -> LayerView:
    draws = torch.Generator().manual_seed(0)
    inputs = tuple(torch.randn(len(labels), count, 8, 8, generator=draws) for count in (2, 3))
    output = torch.randn(len(labels), 3, 8, 8, generator=draws).requires_grad_()
    return LayerView(layer, inputs, output, Batch(output, labels, 3), objective.auxiliary(layer, 3))


@pytest.mark.parametrize("layer", [DENSE, ALONE], ids=lambda layer: layer.name)
@pytest.mark.parametrize(
    "options",
    [{}, {"kernel": "linear"}, {"gamma": 0.7, "hidden": 0}, {"kernel_y": "balanced", "proxies": 2}, {"proxies": 0}],
    ids=str,
)
def test_spread_less_dependence_on_the_labels(layer: Layer, options: dict[str, object]) -> None:
    objective = ProjectedHSIC(ProjectedHSIC.Config(projection=7, **{"hidden": 6} | options))
    view = see(layer, objective)
    config = objective.config

    seen = pooled(torch.cat([*view.inputs, view.output], 1) if layer is DENSE else view.output, 4)
    assert view.auxiliary is not None
    projected = view.auxiliary["projection"](seen).detach()
    labels = LABELS
    if config.proxies:
        proxies = view.auxiliary["proxies"]
        assert proxies.labels.bincount().tolist() == [config.proxies] * 3
        projected, labels = torch.cat([projected, proxies.points.detach()]), torch.cat([labels, proxies.labels])
    k = kernel(projected, config.kernel, "median", centered=True)
    y = labels_kernel(labels, 3, config.kernel_y)
    expected = trace_form(k, k, 2) - config.gamma * trace_form(k, y, 2)
    parts = objective.loss(view)
    assert parts.keys() == {"hsic"}
    assert parts["hsic"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_it_is_the_distance_of_two_gram_matrices_but_for_a_constant() -> None:
    """With gamma 2: whoever is as near as its label asks pulls no more."""
    objective = ProjectedHSIC(ProjectedHSIC.Config(proxies=0))
    view = see(ALONE, objective)
    assert view.auxiliary is not None
    projected = view.auxiliary["projection"](pooled(view.output, 4)).detach()
    k, y = kernel(projected, "cosine", "median", centered=True), labels_kernel(LABELS, 3, "delta")
    h = torch.eye(6, dtype=torch.float64) - 1 / 6
    distance = (h @ (k - y) @ h).square().sum() / 25
    assert objective.loss(view)["hsic"].item() == pytest.approx((distance - trace_form(y, y, 2)).item(), rel=1e-4)


def test_a_classifier_beside_the_projection_adds_its_cross_entropy() -> None:
    plain, mixed = ProjectedHSIC(), ProjectedHSIC(ProjectedHSIC.Config(ce=0.4))
    view = see(DENSE, mixed)
    assert isinstance(view.auxiliary, nn.ModuleDict)
    parts = mixed.loss(view)
    assert parts["ce"].item() == pytest.approx(0.4 * math.log(3))  # without an opinion yet
    assert parts["hsic"].item() == plain.loss(view)["hsic"].item()


@pytest.mark.parametrize("ce", [0.0, 0.4])
def test_layers_vote_by_the_classifier_that_learned_with_them(ce: float) -> None:
    objective = ProjectedHSIC(ProjectedHSIC.Config(ce=ce, vote=True))
    view = see(DENSE, objective)
    assert isinstance(view.auxiliary, nn.ModuleDict)
    nn.init.normal_(view.auxiliary["classifier"][-1].weight)
    features = view.auxiliary["reading"](view)
    expected = view.auxiliary["classifier"](features if ce else view.auxiliary["projection"](features))
    vote = objective.vote(view)
    assert vote is not None
    assert torch.equal(vote, expected)
    assert ProjectedHSIC(ProjectedHSIC.Config(ce=ce)).vote(view) is None


def test_a_layer_feels_nothing_of_a_classifier_that_only_votes() -> None:
    """Its objective and its gradient are those of the rule without; the classifier's gradient is cross-entropy's."""
    plain, voting = ProjectedHSIC(), ProjectedHSIC(ProjectedHSIC.Config(vote=True))
    view = see(DENSE, voting)
    assert isinstance(view.auxiliary, nn.ModuleDict)
    (alone,) = torch.autograd.grad(plain.loss(view)["hsic"], view.output)
    parts = voting.loss(view)
    assert parts["vote"].item() == 0
    assert sum(parts.values()).item() == plain.loss(view)["hsic"].item()
    classifier = view.auxiliary["classifier"]
    (felt,) = torch.autograd.grad(sum(parts.values()), view.output, retain_graph=True)
    assert torch.equal(felt, alone)
    projected = view.auxiliary["projection"](view.auxiliary["reading"](view))
    loss = nn.functional.cross_entropy(classifier(projected.detach()), LABELS)
    (wanted,) = torch.autograd.grad(loss, classifier[-1].weight)
    (found,) = torch.autograd.grad(parts["vote"], classifier[-1].weight)
    assert torch.allclose(found, wanted)


def test_projection_and_proxies_learn_with_their_layer() -> None:
    objective = ProjectedHSIC()
    view = see(DENSE, objective)
    objective.loss(view)["hsic"].backward()
    assert view.output.grad is not None
    assert view.output.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in view.auxiliary.parameters() if parameter.dim() == 2)
    assert all(tensor.grad is None for tensor in view.inputs)


@pytest.mark.parametrize("labels", [torch.zeros(6, dtype=torch.int64), torch.tensor([0, 1])], ids=["one class", "two"])
def test_a_batch_that_says_little_leaves_finite_gradients(labels: Tensor) -> None:
    objective = ProjectedHSIC()
    view = see(DENSE, objective, labels)
    loss = objective.loss(view)["hsic"]
    loss.backward()
    assert loss.isfinite()
    assert view.output.grad.isfinite().all()


def test_pictures_that_are_all_alike_leave_finite_gradients() -> None:
    objective = ProjectedHSIC()
    output = torch.ones(6, 3, 8, 8, requires_grad=True)
    view = LayerView(ALONE, (), output, Batch(output, LABELS, 3), objective.auxiliary(ALONE, 3))
    objective.loss(view)["hsic"].backward()
    assert output.grad.isfinite().all()


def test_it_learns_digits() -> None:
    assert learn_digits(ProjectedHSIC) > 0.9
