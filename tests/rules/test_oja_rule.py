"""oja finds principal components, as numpy's singular value decomposition does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from helpers.digits import learn_digits
from helpers.exhaustive import few
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from localrules import Batch, Layer, LayerView
from localrules.core.ops import record_ops
from localrules_unsupervised.oja import Oja

pytestmark = pytest.mark.slow

DRAWS = torch.Generator().manual_seed(0)
SPREAD = torch.tensor([4.0, 3.0, 2.0, 0.7, 0.5, 0.3, 0.2, 0.1])
TURN, _ = torch.linalg.qr(torch.randn(8, 8, generator=DRAWS))
SAMPLES = torch.randn(400, 8, generator=DRAWS) * SPREAD @ TURN.T + 5.0


def settle(module: nn.Module, inputs: Tensor, config: Oja.Config, steps: int, rate: float) -> None:
    """Gradient descent on the surrogate."""
    for _ in range(steps):
        with record_ops() as operations:
            output = module(inputs)
        layer = Layer("layer", module, out_shapes=(tuple(output.shape[1:]),))
        batch = Batch(inputs, torch.empty(0, dtype=torch.int64), 4)
        loss = Oja(config, layer, 4)(LayerView(layer, (inputs,), output, batch, operations))
        assert isinstance(loss, Tensor)
        loss.backward()
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.grad is not None:
                    parameter -= rate * parameter.grad
                    parameter.grad = None


def components(samples: Tensor, count: int, centered: bool = True) -> NDArray[np.float64]:
    """The leading principal components, (count, inputs)."""
    data = samples.double().numpy()
    data = data - data.mean(0) if centered else data
    return np.linalg.svd(data, full_matrices=False)[2][:count]


def projector(basis: NDArray[np.float64]) -> NDArray[np.float64]:
    return basis.T @ basis


@pytest.mark.parametrize("centered", [True, False])
def test_a_change_is_the_formula_written_out(centered: bool) -> None:
    linear, images = nn.Linear(8, 3, bias=False), SAMPLES[:20]
    before = linear.weight.detach().clone()
    settle(linear, images, Oja.Config(centered=centered), 1, rate=1.0)
    inputs, weight = images.double(), before.double()
    mean = inputs.mean(0) if centered else torch.zeros(8, dtype=torch.float64)
    change = torch.zeros(3, 8, dtype=torch.float64)
    for image in inputs:
        activity = weight @ (image - mean)
        change += torch.outer(activity, image - mean) - torch.outer(activity, activity) @ weight
    expected = change / float((inputs**2).sum())  # a mean over samples, over the mean squared length of an input
    torch.testing.assert_close((linear.weight - before).double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("centered", few([True, False], {"True"}))
def test_the_weights_become_an_orthonormal_basis_of_the_leading_principal_subspace(centered: bool) -> None:
    linear = nn.Linear(8, 3)
    settle(linear, SAMPLES, Oja.Config(centered=centered), 2500, 2.0 if centered else 0.5)
    found = linear.weight.detach().double().numpy()
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=5e-3)
    np.testing.assert_allclose(projector(found), projector(components(SAMPLES, 3, centered)), atol=2e-2)


def test_sangers_form_finds_the_components_themselves_in_order() -> None:
    linear = nn.Linear(8, 3, bias=False)
    settle(linear, SAMPLES, Oja.Config(form="sanger"), 3000, 2.0)
    alike = linear.weight.detach().double().numpy() @ components(SAMPLES, 3).T
    np.testing.assert_allclose(np.abs(alike), np.eye(3), atol=3e-2)


def test_a_convolution_finds_the_subspace_of_patches() -> None:
    maps = functional.avg_pool2d(torch.randn(60, 1, 12, 12, generator=DRAWS), 3, 1)
    conv = nn.Conv2d(1, 2, 3)
    settle(conv, maps, Oja.Config(), 2500, 1.0)
    patches = functional.unfold(maps, 3).transpose(1, 2).reshape(-1, 9)
    found = conv.weight.detach().double().flatten(1).numpy()
    expected = components(patches, 2)
    assert np.linalg.norm(found @ expected.T) ** 2 > 0.97 * 2


@pytest.mark.parametrize("form", ["subspace", "sanger"])
def test_groups_of_a_convolution_are_each_a_network_of_their_own(form: Any) -> None:
    maps = torch.randn(5, 4, 5, 5, generator=DRAWS)
    grouped = nn.Conv2d(4, 6, 3, groups=2, bias=False)
    alone = [nn.Conv2d(2, 3, 3, bias=False) for _ in range(2)]
    same_power = maps / maps.unflatten(1, (2, 2)).square().mean((0, 2, 3, 4)).sqrt().repeat_interleave(2)[:, None, None]
    for index, conv in enumerate(alone):
        conv.weight.data = grouped.weight.detach()[3 * index : 3 * index + 3].clone()
        settle(conv, same_power[:, 2 * index : 2 * index + 2], Oja.Config(form=form), 3, 0.5)
    settle(grouped, same_power, Oja.Config(form=form), 3, 0.5)
    torch.testing.assert_close(grouped.weight, torch.cat([conv.weight for conv in alone]))


def test_sangers_form_learns_the_digits_less_well_as_units_beyond_their_dimension_fade() -> None:
    assert learn_digits(Oja, rule_options={"form": "sanger"}) > 0.8
