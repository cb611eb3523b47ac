"""Linear and cosine kernels: (batch, d) features to a (batch, batch) Gram matrix.

Every kernel starts from the inner products of the rows, so that a batch costs one matrix product forward and one
backward, and everything else is elementwise on (batch, batch).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from localrules.kernels.precision import full_precision, no_autocast
from localrules.kernels.shapes import features, require_batch

# A difference this far below the size of what was subtracted is rounding in float32, not signal.
ROUNDING = 1e-6


class _InnerProducts(torch.autograd.Function):
    """``x @ x.T``, with one product in the backward pass where autograd would take two."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x @ x.T

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        with no_autocast(x):
            return (grad + grad.T) @ x


def inner_products(x: Tensor) -> Tensor:
    """The inner products of the rows of a (batch, d) matrix, as (batch, batch)."""
    products: Tensor = _InnerProducts.apply(x)
    return products


@full_precision
def linear(x: Tensor) -> Tensor:
    """The linear kernel: inner products of the rows.

    Args:
        x: (batch, ...), flattened to (batch, d).

    Returns:
        (batch, batch).

    Raises:
        UsageError: A batch of one.
    """
    require_batch(x.shape[0], "the linear kernel")
    return inner_products(features(x))


@full_precision
def cosine(x: Tensor, *, centered: bool = False, eps: float = ROUNDING) -> Tensor:
    """The cosine kernel: inner products of the rows, each divided by its length.

    As in pHSIC with the cosine kernel (Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123) and the similarity
    matching loss (Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656).

    Args:
        x: (batch, ...), flattened to (batch, d).
        centered: Subtract the mean over the batch first (without it, rows after a ReLU all point much the same way).
        eps: Ours. A row counts as zero, and gets similarity 0 and gradient 0, when its length is below ``eps`` times
            the root mean square length of the batch's rows (before centring).

    Returns:
        (batch, batch), entries in [-1, 1].

    Raises:
        UsageError: A batch of one.
    """
    require_batch(x.shape[0], "the cosine kernel")
    rows = features(x)
    shift = rows.new_zeros(())
    if centered:
        mean = rows.mean(0)
        rows = rows - mean
        shift = mean.detach().square().sum()
    cosines: Tensor = _Cosines.apply(rows, eps**2, shift)
    return cosines


class _Cosines(torch.autograd.Function):
    """The cosines of the rows of a (batch, d) matrix, with one product in the backward pass and little beside it.

    With ``s`` one over a row's length and ``K`` the cosines, a slope ``G`` in these (made symmetric) is the slope
    ``s G s - diag(s^2 sum(G K))`` in half the inner products.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, tolerance: float, shift: Tensor) -> Tensor:
        products = rows @ rows.T
        lengths = products.diagonal()  # squared
        alive = lengths > tolerance * (lengths.mean() + shift)
        scale = torch.where(alive, torch.where(alive, lengths, 1.0).rsqrt(), 0.0)
        cosines = products.mul_(scale).mul_(scale[:, None])
        ctx.save_for_backward(rows, cosines, scale)
        return cosines

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows, cosines, scale = ctx.saved_tensors
        with no_autocast(rows):
            slope = grad + grad.T
            lengths = (slope * cosines).sum(1) * scale.square()
            slope.mul_(scale).mul_(scale[:, None]).diagonal().sub_(lengths)
            return slope @ rows, None, None
