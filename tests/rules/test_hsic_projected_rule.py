"""hsic-projected against its formula, written out in float64."""

from __future__ import annotations

import math

import pytest
import torch
from helpers.one_layer import LABELS, make
from helpers.reference import kernel, labels_kernel, pooled, trace_form
from torch import Tensor, nn

from localrules import Batch, Layer, LayerView
from localrules_hsic.hsic_projected import ProjectedHSIC

DENSE = Layer("dense", nn.Identity(), inputs_visible_downstream=True, in_shape=(5, 8, 8), out_shapes=((3, 8, 8),))
ALONE = Layer("alone", nn.Identity(), in_shape=(5, 8, 8), out_shapes=((3, 8, 8),))


def see(layer: Layer, labels: Tensor = LABELS) -> LayerView:
    draws = torch.Generator().manual_seed(0)
    inputs = tuple(torch.randn(len(labels), count, 8, 8, generator=draws) for count in (2, 3))
    output = torch.randn(len(labels), 3, 8, 8, generator=draws).requires_grad_()
    return LayerView(layer, inputs, output, Batch(output, labels, 3))


@pytest.mark.parametrize("layer", [DENSE, ALONE], ids=lambda layer: layer.name)
@pytest.mark.parametrize(
    "options",
    [{}, {"kernel": "linear"}, {"gamma": 0.7, "hidden": 0}, {"kernel_y": "balanced", "proxies": 2}, {"proxies": 0}],
    ids=str,
)
def test_spread_less_dependence_on_the_labels(layer: Layer, options: dict[str, object]) -> None:
    objective = make(ProjectedHSIC, layer, projection=7, **{"hidden": 6} | options)
    view = see(layer)
    config = objective.config

    seen = pooled(torch.cat([*view.inputs, view.output], 1) if layer is DENSE else view.output, 4)
    projected = objective.projection(seen).detach()
    labels = LABELS
    if config.proxies:
        proxies = objective.proxies
        assert proxies.labels.bincount().tolist() == [config.proxies] * 3
        projected, labels = torch.cat([projected, proxies.points.detach()]), torch.cat([labels, proxies.labels])
    k = kernel(projected, config.kernel, "median", centered=True)
    y = labels_kernel(labels, 3, config.kernel_y)
    expected = trace_form(k, k, 2) - config.gamma * trace_form(k, y, 2)
    parts = objective(view)
    assert parts.keys() == {"hsic"}
    assert parts["hsic"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_it_is_the_distance_of_two_gram_matrices_but_for_a_constant() -> None:
    """With gamma 2: pairs that are right have no gradient."""
    objective = make(ProjectedHSIC, ALONE, proxies=0)
    view = see(ALONE)
    projected = objective.projection(pooled(view.output, 4)).detach()
    k, y = kernel(projected, "cosine", "median", centered=True), labels_kernel(LABELS, 3, "delta")
    h = torch.eye(6, dtype=torch.float64) - 1 / 6
    distance = (h @ (k - y) @ h).square().sum() / 25
    assert objective(view)["hsic"].item() == pytest.approx((distance - trace_form(y, y, 2)).item(), rel=1e-4)


def test_a_classifier_beside_the_projection_adds_its_cross_entropy() -> None:
    plain, mixed = make(ProjectedHSIC, DENSE), make(ProjectedHSIC, DENSE, ce=0.4)
    plain.load_state_dict(mixed.state_dict(), strict=False)
    view = see(DENSE)
    parts = mixed(view)
    assert parts["ce"].item() == pytest.approx(0.4 * math.log(3))  # the classifier starts at zero
    assert parts["hsic"].item() == plain(view)["hsic"].item()


@pytest.mark.parametrize("ce", [0.0, 0.4])
def test_layers_vote_by_the_classifier_that_learned_with_them(ce: float) -> None:
    objective = make(ProjectedHSIC, DENSE, ce=ce, vote=True)
    view = see(DENSE)
    nn.init.normal_(objective.classifier[-1].weight)
    features = objective.reader(view)
    expected = objective.classifier(features if ce else objective.projection(features))
    logits = objective.layer_logits(view)
    assert logits is not None
    assert torch.equal(logits, expected)
    assert make(ProjectedHSIC, DENSE, ce=ce).layer_logits(view) is None


def test_a_classifier_that_only_votes_leaves_the_layer_s_gradient_unchanged() -> None:
    """Its objective and its gradient are those of the rule without; the classifier's gradient is cross-entropy's."""
    plain, voting = make(ProjectedHSIC, DENSE), make(ProjectedHSIC, DENSE, vote=True)
    plain.load_state_dict(voting.state_dict(), strict=False)
    view = see(DENSE)
    (alone,) = torch.autograd.grad(plain(view)["hsic"], view.output)
    parts = voting(view)
    assert parts["vote"].item() == 0
    assert sum(parts.values()).item() == plain(view)["hsic"].item()
    classifier = voting.classifier
    (found,) = torch.autograd.grad(sum(parts.values()), view.output, retain_graph=True)
    assert torch.equal(found, alone)
    projected = voting.projection(voting.reader(view))
    loss = nn.functional.cross_entropy(classifier(projected.detach()), LABELS)
    (wanted,) = torch.autograd.grad(loss, classifier[-1].weight)
    (found,) = torch.autograd.grad(parts["vote"], classifier[-1].weight)
    assert torch.allclose(found, wanted)


def test_projection_and_proxies_learn_with_their_layer() -> None:
    objective = make(ProjectedHSIC, DENSE)
    view = see(DENSE)
    objective(view)["hsic"].backward()
    assert view.output.grad is not None
    assert view.output.grad.abs().sum() > 0
    assert all(parameter.grad.abs().sum() > 0 for parameter in objective.parameters() if parameter.dim() == 2)
    assert all(tensor.grad is None for tensor in view.inputs)


@pytest.mark.parametrize("labels", [torch.zeros(6, dtype=torch.int64), torch.tensor([0, 1])], ids=["one class", "two"])
def test_a_batch_with_little_to_learn_from_leaves_finite_gradients(labels: Tensor) -> None:
    objective = make(ProjectedHSIC, DENSE)
    view = see(DENSE, labels)
    loss = objective(view)["hsic"]
    loss.backward()
    assert loss.isfinite()
    assert view.output.grad.isfinite().all()


def test_equal_images_leave_finite_gradients() -> None:
    objective = make(ProjectedHSIC, ALONE)
    output = torch.ones(6, 3, 8, 8, requires_grad=True)
    view = LayerView(ALONE, (), output, Batch(output, LABELS, 3))
    objective(view)["hsic"].backward()
    assert output.grad.isfinite().all()
