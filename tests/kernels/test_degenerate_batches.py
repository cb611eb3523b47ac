"""Batches that hold nothing to learn from, in every precision: finite values, finite gradients, never a NaN."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers.exhaustive import few

from localrules.kernels.gram import cosine, gaussian, linear
from localrules.kernels.hsic import hsic, nhsic, normalized_trace, phsic
from localrules.kernels.labels import LABEL_KERNELS, labels_gram

KERNELS = {
    "linear": linear,
    "cosine": cosine,
    "cosine, centred": lambda x: cosine(x, centered=True),
    "gaussian 5": lambda x: gaussian(x, 5.0),
    "gaussian median": gaussian,
    "gaussian several": lambda x: gaussian(x, [1.0, "median"]),
}
FORMS = {"hsic": hsic, "normalised trace": normalized_trace, "nhsic": nhsic, "phsic": phsic}


def noise(m: int, d: int) -> torch.Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(m))


FEATURES = {
    "usual": noise(16, 40),
    "two samples": noise(2, 40),
    "two samples, identical": noise(1, 40).expand(2, -1),
    "zero": torch.zeros(16, 40),
    "constant": torch.full((16, 40), 0.1),
    "constant across the batch": noise(1, 40).expand(16, -1) * 3,
    "identical pairs": noise(8, 40).repeat(2, 1),
    "some rows zero": noise(16, 40) * (torch.arange(16) % 2)[:, None],
    "one row apart": torch.zeros(16, 40).index_fill(0, torch.tensor([3]), 2.0),
    "one feature": noise(16, 1),
    "tiny": noise(16, 40) * 1e-4,
    "large": noise(16, 40) * 1e3,
}


@pytest.mark.slow
@pytest.mark.parametrize("dtype", few([torch.float32, torch.bfloat16, torch.float16], {"torch.float32"}))
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_degenerate_features_give_finite_values_and_gradients(kernel, form, dtype):
    for name, one_class, autocast in itertools.product(FEATURES, (True, False), (True, False)):
        z = FEATURES[name].to(dtype).clone().requires_grad_()
        m = len(z)
        y = torch.zeros(m, dtype=torch.int64) if one_class else torch.arange(m) % 3
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            value = FORMS[form](KERNELS[kernel](z), labels_gram(y, 3))
            value.backward()
        assert value.dtype == torch.float32, name
        assert value.isfinite(), name
        assert z.grad.dtype == dtype, name
        assert z.grad.isfinite().all(), name


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", ["zero", "constant", "constant across the batch", "two samples, identical"])
def test_constant_features_carry_no_dependence_and_no_gradient(kernel, name):
    z = FEATURES[name].clone().requires_grad_()
    value = normalized_trace(KERNELS[kernel](z), labels_gram(torch.arange(len(z)) % 2, 2))
    value.backward()
    assert value.item() == 0
    assert (z.grad == 0).all()


@pytest.mark.parametrize("kind", LABEL_KERNELS)
def test_one_class_carries_no_dependence_and_no_gradient(kind):
    z = noise(16, 40).requires_grad_()
    one_class = labels_gram(torch.full((16,), 2), 3, kind)
    assert one_class.isfinite().all()
    assert hsic(gaussian(z), one_class).item() == pytest.approx(0, abs=1e-6)
    value = normalized_trace(gaussian(z), one_class)
    value.backward()
    assert value.item() == 0
    assert (z.grad == 0).all()


def test_autocast_around_a_kernel_changes_nothing_in_value_or_gradient():
    grads, values = [], []
    for autocast in (True, False):
        z = noise(16, 40).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            k = cosine(z) + gaussian(z)
            value = normalized_trace(k, labels_gram(torch.arange(16) % 3, 3)) + nhsic(k, gaussian(noise(16, 3)))
            value.backward()
        grads.append(z.grad)
        values.append(value.item())
    assert values[0] == values[1]
    assert torch.equal(grads[0], grads[1])
