"""HSIC, its normalised forms, and their views, against the centring matrix written out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from localrules.errors import UsageError
from localrules.kernels.gram import cosine, gaussian, linear
from localrules.kernels.hsic import hsic, nhsic, normalized_trace, phsic
from localrules.kernels.labels import labels_gram
from localrules.kernels.normalization import center, frobenius_inner, normalize, ridge_normalize

repeat = settings(deadline=None, derandomize=True, max_examples=25)
seeds = st.integers(0, 10_000)
sizes = st.integers(2, 12)

FORMS = {
    "hsic": (hsic, lambda r, k, c: r.hsic(k, c)),
    "hsic, printed": (lambda k, c: hsic(k, c, normalizer="printed"), lambda r, k, c: r.hsic(k, c, power=1)),
    "normalised trace": (normalized_trace, lambda r, k, c: r.cka(k, c)),
    "nhsic": (nhsic, lambda r, k, c: r.nhsic(k, c)),
    "nhsic, one-sided": (nhsic, lambda r, k, c: r.nhsic(k, c, one_sided=True)),
    "nhsic, eps 0.1": (lambda k, c: nhsic(k, c, eps=0.1), lambda r, k, c: r.nhsic(k, c, eps=0.1)),
    "phsic": (phsic, lambda r, k, c: r.phsic(k, c)),
}
ALL = ("hsic", "normalised trace", "nhsic", "phsic")


def batch(seed: int, m: int, d: int = 5) -> torch.Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(seed: int, m: int, classes: int = 3) -> torch.Tensor:
    drawn = torch.randint(classes, (m,), generator=torch.Generator().manual_seed(seed))
    drawn[0], drawn[-1] = 0, 1  # two classes at least
    return drawn


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("m", [2, 3, 10])
def test_matches_reference_in_value_and_gradient(name, m, reference):
    fast, slow = FORMS[name]
    x, kernel_y = batch(m, m), labels_gram(labels(m, m), 3).double()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    actual, expected = fast(gaussian(ours, 1.0), kernel_y), slow(reference, reference.gaussian(theirs, 1.0), kernel_y)
    torch.testing.assert_close(actual, expected)
    actual.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-8)


def test_hsic_is_the_estimator_by_expectations(reference):
    k, c = gaussian(batch(0, 6)), linear(batch(1, 6))
    assert hsic(k, c).item() == pytest.approx(reference.hsic_by_sums(k, c))


@pytest.mark.parametrize("name", FORMS)
def test_gradient_is_the_derivative(name):
    fast, _ = FORMS[name]
    other = cosine(batch(1, 5))
    assert torch.autograd.gradcheck(lambda x: fast(gaussian(x, 1.0), other), batch(0, 5, 3).requires_grad_())


def test_gradient_of_the_views_is_the_derivative():
    k = gaussian(batch(0, 5), 1.0).requires_grad_()
    for view in (center, normalize, lambda k: ridge_normalize((k + k.T) / 2, eps=1e-2)):
        assert torch.autograd.gradcheck(view, k)


@pytest.mark.slow
@repeat
@given(seed=seeds, m=sizes)
@pytest.mark.parametrize("name", ALL)
def test_symmetric_in_its_arguments(name, seed, m):
    form, k, c = FORMS[name][0], gaussian(batch(seed, m)), linear(batch(seed + 1, m))
    torch.testing.assert_close(form(k, c), form(c, k), rtol=1e-6, atol=1e-9)


@repeat
@given(seed=seeds, m=sizes)
@pytest.mark.parametrize("name", ["hsic", "normalised trace", "nhsic"])
def test_not_negative_for_positive_semidefinite_kernels(name, seed, m):
    assert FORMS[name][0](cosine(batch(seed, m)), gaussian(batch(seed + 1, m), 1.0)).item() >= -1e-9


@repeat
@given(seed=seeds, m=sizes)
@pytest.mark.parametrize("name", ALL)
def test_invariance_to_the_order_of_the_batch(name, seed, m):
    form, order = FORMS[name][0], torch.randperm(m, generator=torch.Generator().manual_seed(seed))
    x, y = batch(seed, m), labels(seed, m)
    before = form(gaussian(x), labels_gram(y, 3).double())
    torch.testing.assert_close(
        form(gaussian(x[order]), labels_gram(y[order], 3).double()), before, rtol=1e-6, atol=1e-9
    )


@repeat
@given(seed=seeds, m=st.integers(3, 12), scale=st.floats(1e-6, 1e6))
def test_invariance_of_cka_to_scale_shift_and_rotation(seed, m, scale):
    x, other = batch(seed, m), linear(batch(seed + 1, m))
    rotation = torch.linalg.qr(batch(seed + 2, 5)).Q
    before = normalized_trace(linear(x), other)
    torch.testing.assert_close(normalized_trace(linear(x * scale), other), before)
    torch.testing.assert_close(normalized_trace(linear(x @ rotation), other), before)
    torch.testing.assert_close(normalized_trace(linear(x + 1), other), before)


@repeat
@given(seed=seeds, m=sizes)
def test_cka_of_a_kernel_with_itself_is_one_and_never_above(seed, m):
    k = gaussian(batch(seed, m))
    assert normalized_trace(k, k).item() == pytest.approx(1)
    assert normalized_trace(k, linear(batch(seed + 1, m))).item() <= 1 + 1e-9


@repeat
@given(seed=seeds, m=st.integers(2, 16), eps=st.sampled_from([1e-5, 1e-3, 1.0]))
def test_centring_one_side_gives_the_trace_of_centring_both(seed, m, eps, reference):
    k, c = gaussian(batch(seed, m), 1.0), cosine(batch(seed + 1, m))
    torch.testing.assert_close(
        nhsic(k, c, eps=eps), reference.nhsic(k, c, eps=eps, one_sided=True), rtol=1e-6, atol=1e-8
    )


@repeat
@given(seed=seeds, m=sizes)
def test_resolvent_has_its_spectrum_between_zero_and_one(seed, m):
    values = torch.linalg.eigvalsh(ridge_normalize(gaussian(batch(seed, m), 1.0)))
    assert values.min() > -1e-9
    assert values.max() < 1


def test_views_are_the_forms(reference):
    k, c = gaussian(batch(0, 9)), linear(batch(1, 9))
    h = reference.centring(9)
    torch.testing.assert_close(center(k), h @ k @ h)
    torch.testing.assert_close(hsic(k, c), frobenius_inner(center(k), center(c)) / 64)
    torch.testing.assert_close(hsic(k, c), hsic(k, center(c), centered=True))
    torch.testing.assert_close(hsic(k, c), hsic(center(k), c, centered=True))
    torch.testing.assert_close(normalized_trace(k, c), frobenius_inner(normalize(k), normalize(c)))
    torch.testing.assert_close(nhsic(k, c), frobenius_inner(ridge_normalize(k), ridge_normalize(c)))
    assert torch.linalg.matrix_norm(normalize(k)).item() == pytest.approx(1)


@pytest.mark.parametrize("m", [32, 128, 512])
@pytest.mark.parametrize("kernel", [gaussian, lambda x: gaussian(x, 5.0), lambda x: cosine(x, centered=True)])
def test_nhsic_in_float32_is_close_to_float64_at_the_papers_eps(kernel, m):
    wide = batch(m, m, 64).relu()
    exact, rounded = wide.float().double().requires_grad_(), wide.float().requires_grad_()
    kernel_y = labels_gram(labels(m, m, 7), 7)
    expected, actual = nhsic(kernel(exact), kernel_y.double()), nhsic(kernel(rounded), kernel_y)
    expected.backward()
    actual.backward()
    assert abs(actual.item() / expected.item() - 1) < 2e-3
    assert (rounded.grad - exact.grad).norm() / exact.grad.norm() < 1e-2


def test_negative_eigenvalues_that_rounding_left_count_as_zero():
    ridge = 1e-5 * 5
    directions = torch.linalg.qr(torch.cat([torch.ones(5, 1, dtype=torch.float64), batch(0, 5, 4)], dim=1)).Q[:, 1:]
    k = (directions * torch.tensor([2.0, 1.0, -3 * ridge, -1.01 * ridge])) @ directions.T
    k.requires_grad_()
    result = ridge_normalize(k)
    expected = (directions * torch.tensor([2 / (2 + ridge), 1 / (1 + ridge), 0, 0])) @ directions.T
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-6)
    result.square().sum().backward()
    assert k.grad.isfinite().all()


def test_a_kernel_that_is_not_a_number_shows_in_the_value_and_raises_nothing():
    assert nhsic(torch.full((4, 4), torch.nan), torch.eye(4)).isnan()


@pytest.mark.parametrize("form", [hsic, normalized_trace, nhsic, phsic, frobenius_inner])
def test_wrong_shapes_are_refused(form):
    with pytest.raises(UsageError, match="same batch"):
        form(torch.eye(3), torch.eye(4))
    with pytest.raises(UsageError, match="square"):
        form(torch.ones(3, 4), torch.ones(3, 4))
    with pytest.raises(UsageError, match="at least 2 samples"):
        form(torch.ones(1, 1), torch.ones(1, 1))


def test_an_unknown_normalizer_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'printed'"):
        hsic(torch.eye(3), torch.eye(3), normalizer="print")
