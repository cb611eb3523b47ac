"""Linear, cosine and Gaussian kernels against loops over pairs, in value and in gradient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from localrules.errors import UsageError
from localrules.kernels.checks import flatten_features
from localrules.kernels.config import KernelConfig, gram
from localrules.kernels.gram import cosine, gaussian, linear, median_squared_distance, squared_distances

repeat = settings(deadline=None, derandomize=True, max_examples=25)

KERNELS = {
    "linear": (linear, lambda r, x: r.linear(x)),
    "cosine": (cosine, lambda r, x: r.cosine(x)),
    "cosine, centred": (lambda x: cosine(x, centered=True), lambda r, x: r.cosine(x, centered=True)),
    "gaussian": (lambda x: gaussian(x, 0.7), lambda r, x: r.gaussian(x, 0.7)),
    "gaussian, unscaled": (
        lambda x: gaussian(x, 3.0, scale_by_dim=False),
        lambda r, x: r.gaussian(x, 3.0, scale_by_dim=False),
    ),
    "gaussian, median": (gaussian, lambda r, x: r.gaussian(x, r.median_width(x))),
    "gaussian, three widths": (
        lambda x: gaussian(x, [0.5, 2.0, "median"]),
        lambda r, x: (r.gaussian(x, 0.5) + r.gaussian(x, 2.0) + r.gaussian(x, r.median_width(x))) / 3,
    ),
}


def batch(seed: int, m: int = 7, shape: tuple[int, ...] = (2, 3, 2), dtype: torch.dtype = torch.float64):
    return torch.randn(m, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("m", [2, 3, 8])
def test_matches_reference_in_value_and_gradient(name, m, reference):
    fast, slow = KERNELS[name]
    x, weights = batch(m, m), batch(99, m, (m,))
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = slow(reference, theirs)
    actual = fast(ours)
    torch.testing.assert_close(actual, expected)
    (actual * weights).sum().backward()
    (expected * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("name", sorted(set(KERNELS) - {"gaussian, median", "gaussian, three widths"}))
def test_gradient_is_the_derivative(name):
    assert torch.autograd.gradcheck(KERNELS[name][0], batch(1, 4, (3,)).requires_grad_())


@pytest.mark.parametrize("name", KERNELS)
def test_float32_is_close_to_float64(name):
    fast, _ = KERNELS[name]
    x = batch(2, 64, (50,)) + 20  # far from the origin, where differences of squares lose digits
    assert fast(x.float()).dtype == torch.float32
    torch.testing.assert_close(fast(x.float()).double(), fast(x), rtol=1e-5, atol=3e-6)


@repeat
@given(seed=st.integers(0, 10_000), m=st.integers(2, 9), scale=st.floats(1e-8, 1e8))
def test_invariance_of_the_cosine_kernel_to_the_scale_of_the_features(seed, m, scale):
    x = batch(seed, m)
    torch.testing.assert_close(cosine(x * scale), cosine(x))
    torch.testing.assert_close(cosine(x * scale, centered=True), cosine(x, centered=True))


@repeat
@given(seed=st.integers(0, 10_000), m=st.integers(2, 9), scale=st.floats(1e-8, 1e8))
def test_invariance_of_the_median_width_to_the_scale_and_the_mean_of_the_features(seed, m, scale):
    x = batch(seed, m)
    torch.testing.assert_close(gaussian(x * scale), gaussian(x))
    torch.testing.assert_close(gaussian(x + 3), gaussian(x))


@repeat
@given(seed=st.integers(0, 10_000), m=st.integers(2, 9))
@pytest.mark.parametrize("name", KERNELS)
def test_gram_matrices_are_symmetric_and_positive_semidefinite(name, seed, m):
    k = KERNELS[name][0](batch(seed, m))
    torch.testing.assert_close(k, k.T)
    assert torch.linalg.eigvalsh(k).min() > -1e-10 * k.abs().max()


def test_the_median_is_over_different_samples_and_carries_no_gradient(reference):
    x = batch(3, 6).requires_grad_()
    scale = median_squared_distance(squared_distances(x))
    assert not scale.requires_grad
    assert scale.item() == pytest.approx(reference.median_width(x) ** 2 * x[0].numel())


def test_the_mean_stands_in_for_a_median_of_zero():
    x = torch.zeros(6, 2)
    x[0] = 3.0  # five of the six samples coincide
    assert median_squared_distance(squared_distances(x)).item() == pytest.approx(18 * 10 / 30)


def test_identical_rows_are_exactly_zero_apart():
    x = batch(4, 33, (100,), torch.float32)[torch.arange(33) % 5] + 7
    same = (torch.arange(33) % 5)[:, None] == torch.arange(33) % 5
    distances = squared_distances(x)
    assert (distances[same] == 0).all()
    assert (distances[~same] > 0).all()


def test_rows_that_differ_by_rounding_alone_are_exactly_zero_apart():
    x = batch(4, 20, (100,), torch.float32)
    distances = squared_distances(torch.cat([x, x * (1 + 2e-7)]))
    assert (distances.diagonal(20) == 0).all()
    assert (distances[:20, :20].fill_diagonal_(1) > 0).all()


def test_what_rounding_leaves_of_a_constant_after_centring_is_not_a_direction():
    x = batch(5, 1, (40,), torch.float32).expand(7, -1) * 3
    assert (x - x.mean(0)).abs().max() > 0  # the mean of seven equal numbers is not always that number
    assert (cosine(x, centered=True) == 0).all()


def test_features_are_flat_and_full_precision():
    assert flatten_features(torch.zeros(4, 3, 2, dtype=torch.bfloat16)).shape == (4, 6)
    assert flatten_features(torch.zeros(4, 3, dtype=torch.float16)).dtype == torch.float32
    assert flatten_features(torch.zeros(4, dtype=torch.int64)).shape == (4, 1)
    assert flatten_features(torch.zeros(4, 3, dtype=torch.float64)).dtype == torch.float64


def test_a_kernel_by_name_is_that_kernel():
    x = batch(5)
    torch.testing.assert_close(gram(x), gaussian(x))
    torch.testing.assert_close(gram(x, "linear"), linear(x))
    torch.testing.assert_close(gram(x, KernelConfig("cosine", centered=True)), cosine(x, centered=True))
    scaled = KernelConfig("gaussian", width=5.0, scale_by_dim=False)
    torch.testing.assert_close(gram(x, scaled), gaussian(x, 5.0, scale_by_dim=False))


def test_an_unknown_kernel_suggests_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'gaussian'"):
        gram(batch(0), "gausian")


@pytest.mark.parametrize("width", [0, -1.0, "mean", [], [1.0, 0.0]])
def test_a_width_that_is_none_is_refused(width):
    with pytest.raises(UsageError, match="no usable width"):
        gaussian(batch(0), width)
    with pytest.raises(UsageError, match="no usable width"):
        KernelConfig(width=width)


@pytest.mark.parametrize("name", KERNELS)
def test_a_batch_of_one_is_refused_with_the_size_that_is_needed(name):
    with pytest.raises(UsageError, match="at least 2 samples"):
        KERNELS[name][0](batch(0, 1))
