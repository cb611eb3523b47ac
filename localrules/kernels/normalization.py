"""Three ways to look at a Gram matrix, and the one inner product that turns two of them into a dependence.

=============  =================================  =======================================
view           ``inner(view(a), view(b))``        of
=============  =================================  =======================================
``center``     ``(m - 1)^2`` times HSIC           Gretton et al. 2005
``normalize``  the normalised trace, or CKA       Cortes et al. 2012, Kornblith et al. 2019
``resolvent``  nHSIC                              Fukumizu et al. 2007, Ma et al. 2020
=============  =================================  =======================================

The view of a batch's input or labels can be computed once a step and kept, for every layer to be held against.
Because ``inner`` is linear, so can a whole objective be: ``inner(view(k_z), view(k_x) - beta * view(k_y))``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from localrules.kernels.checks import full_precision, no_autocast, require_gram, require_pair
from localrules.kernels.gram import ROUNDING
from localrules.utils.torch_utils import is_read_freely


@full_precision
def frobenius_inner(a: Tensor, b: Tensor) -> Tensor:
    """The Frobenius inner product ``sum_ij a_ij b_ij``, without a temporary.

    For symmetric matrices this is ``tr(a b)``.

    Args:
        a, b: (batch, batch).

    Returns:
        A scalar.

    Raises:
        UsageError: The shapes differ or are not square.
    """
    require_pair(a, b, "the inner product")
    return torch.dot(a.flatten(), b.flatten())


@full_precision
def center(k: Tensor) -> Tensor:
    """``H k H`` with ``H = I - 11'/m``: every row and every column gets mean 0.

    Args:
        k: (batch, batch).

    Returns:
        (batch, batch).

    Raises:
        UsageError: Not square, or a batch of one.
    """
    require_gram(k, "centring")
    centered: Tensor = _Center.apply(k)
    return centered


class _Center(torch.autograd.Function):
    """``H k H``, whose derivative is the same of the slope: ``H`` is symmetric."""

    @staticmethod
    def forward(ctx: Any, k: Tensor) -> Tensor:
        return _centered(k)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _centered(grad)


def _centered(k: Tensor) -> Tensor:
    # The row means of the column-centred matrix already hold the global mean: two subtractions, no product with H.
    columns = k - k.mean(0)
    return columns.sub_(columns.mean(1, keepdim=True))


@full_precision
def normalize(k: Tensor, *, eps: float = ROUNDING) -> Tensor:
    """The centred Gram matrix divided by its Frobenius norm; torch refuses to differentiate its gradient again.

    Args:
        k: (batch, batch), not centred yet.
        eps: Ours. When centring leaves less than ``eps`` times the norm of ``k`` (constant features, one class) what
            is left is rounding, and the result and its gradient are 0.

    Returns:
        (batch, batch) of Frobenius norm 1, or 0.

    Raises:
        UsageError: Not square, or a batch of one.
    """
    require_gram(k, "centring")
    normalized: Tensor = _Normalize.apply(k, eps)
    return normalized


class _Normalize(torch.autograd.Function):
    """``N = s H k H`` with ``s = 1 / |H k H|``, whose derivative is ``s (C - <C, N> N)``, ``C`` the centred slope."""

    @staticmethod
    def forward(ctx: Any, k: Tensor, eps: float) -> Tensor:
        centered = _centered(k)
        square = torch.dot(centered.flatten(), centered.flatten())
        alive = square > eps**2 * torch.dot(k.flatten(), k.flatten())
        scale = torch.where(alive, torch.where(alive, square, 1.0).rsqrt(), 0.0)
        normalized = centered.mul_(scale)
        ctx.save_for_backward(normalized, scale)
        return normalized

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        normalized, scale = ctx.saved_tensors
        slope = _centered(grad)
        along = torch.dot(slope.flatten(), normalized.flatten())
        return slope.sub_(along * normalized).mul_(scale), None


@full_precision
def ridge_normalize(k: Tensor, *, eps: float = 1e-5) -> Tensor:
    """``R = Kc (Kc + eps m I)^-1`` with ``Kc = H k H``: the centred Gram matrix with its spectrum flattened to [0, 1).

    Ma, Lewis & Kleijn 2020 (https://arxiv.org/abs/1908.01580), whose code centres one side only (``k H``); the traces
    ``tr(R_X R_Y)`` are the same, and the symmetric form has a Cholesky factor. Torch refuses to
    differentiate its gradient again.

    Args:
        k: (batch, batch), symmetric and positive semi-definite up to rounding.
        eps: The paper's code has 1e-5, absolute. It must stay well above the rounding of ``k``. Measured in float32
            with kernels bounded by 1 (Gaussian, cosine) and batches of 32 to 512: nHSIC is within 2e-3 of float64's,
            its gradient within 1e-2. A linear kernel of many features is too large for 1e-5: divide it by its mean
            diagonal first, or raise ``eps``.

    Returns:
        (batch, batch), symmetric.

    Raises:
        UsageError: Not square, or a batch of one.
    """
    size = require_gram(k, "nHSIC")
    flattened: Tensor = _RidgeNormalize.apply(center(k), eps * size)
    return flattened


class _RidgeNormalize(torch.autograd.Function):
    """``K (K + ridge I)^-1 = I - ridge P`` with ``P = (K + ridge I)^-1``, whose derivative is ``ridge P dK P``.

    Two products in the backward pass, where autograd through a factorisation and a solve takes four times as long.
    """

    @staticmethod
    def forward(ctx: Any, k: Tensor, ridge: float) -> Tensor:
        inverse = _regularized_inverse(k, ridge)
        ctx.save_for_backward(inverse)
        ctx.ridge = ridge
        result = inverse * -ridge
        result.diagonal().add_(1)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (inverse,) = ctx.saved_tensors
        with no_autocast(inverse):
            return inverse @ (grad * ctx.ridge) @ inverse, None


def _regularized_inverse(k: Tensor, ridge: float) -> Tensor:
    """``(k + ridge I)^-1`` of a positive semi-definite ``k``; eigenvalues that rounding pushed below 0 count as 0."""
    shifted = k.clone()
    shifted.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(shifted)
    if not is_read_freely(failed):
        return _inverse_without_reading(k, shifted, failed)
    if not failed:
        return torch.cholesky_inverse(factor)
    if not k.isfinite().all():
        return torch.full_like(k, torch.nan)  # for whoever watches the objective to see, with the layer's name
    values, vectors = torch.linalg.eigh(k)
    return (vectors / (values.clamp_min(0) + ridge)) @ vectors.T


def _inverse_without_reading(k: Tensor, shifted: Tensor, failed: Tensor) -> Tensor:
    """The inverse on a GPU, where neither a look at ``failed`` nor an eigendecomposition may make the host wait.

    Where there was no factor, all eigenvalues are first lifted by what rounding may have taken from them.
    """
    rounding = 4 * len(k) * torch.finfo(k.dtype).eps * k.diagonal().abs().amax()
    shifted.diagonal().add_(torch.where(failed == 0, 0.0, rounding))
    factor, failed = torch.linalg.cholesky_ex(shifted)
    return torch.where(failed == 0, torch.cholesky_inverse(factor), torch.nan)
