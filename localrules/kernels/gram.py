"""Pairwise kernels: (batch, d) features to a (batch, batch) Gram matrix.

Each one starts from the inner products of the rows, so that a batch costs one matrix product forward and one
backward, and everything else is elementwise on (batch, batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from localrules.kernels.precision import full_precision, no_autocast
from localrules.kernels.shapes import features, require_batch

Width = float | Literal["median"]

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


def _inner_products(x: Tensor) -> Tensor:
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
    return _inner_products(features(x))


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
    products = _inner_products(rows)
    lengths = products.diagonal()  # squared
    floor = eps**2 * (lengths.detach().mean() + shift)
    alive = lengths > floor
    # The inner where keeps the square root's infinite slope at 0 out of the backward pass.
    scale = torch.where(alive, torch.where(alive, lengths, 1.0).rsqrt(), 0.0)
    return products * scale * scale[:, None]


@full_precision
def squared_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances of the rows, exactly 0 on the diagonal and never below 0.

    Args:
        x: (batch, ...), flattened to (batch, d).

    Returns:
        (batch, batch).
    """
    rows = features(x)
    # Distances do not move with the mean, so it needs no gradient; without it float32 keeps more digits.
    products = _inner_products(rows - rows.detach().mean(0))
    lengths = products.diagonal()
    return (lengths[:, None] + lengths - 2 * products).clamp_min(0)


@full_precision
def gaussian(x: Tensor, width: Width | Sequence[Width] = "median", *, scale_by_dim: bool = True) -> Tensor:
    """The Gaussian kernel ``exp(-|a - b|^2 / (2 width^2 d))``.

    As in Ma, Lewis & Kleijn 2020 (https://arxiv.org/abs/1908.01580), whose width is 5 to 6 for standardised inputs.

    Args:
        x: (batch, ...), flattened to (batch, d).
        width: A fixed width; or ``"median"`` (the default, ours), for which ``width^2 d`` is the median squared
            distance between two samples of the batch, taken as a constant; or several of them, whose kernels are
            averaged. Where more than half of all pairs coincide the mean squared distance stands in for the median.
        scale_by_dim: Multiply ``width^2`` by the dimension d (the paper's). ``"median"`` does not depend on it.

    Returns:
        (batch, batch), entries in (0, 1], ones on the diagonal.

    Raises:
        UsageError: A batch of one.
    """
    require_batch(x.shape[0], "the Gaussian kernel")
    distances = squared_distances(x)
    dim = x[0].numel() if scale_by_dim else 1
    widths = [width] if isinstance(width, (int, float, str)) else list(width)
    kernels = [
        (distances * (-0.5 / median_squared_distance(distances))).exp()
        if one == "median"
        else (distances * (-0.5 / (float(one) ** 2 * dim))).exp()
        for one in widths
    ]
    return kernels[0] if len(kernels) == 1 else torch.stack(kernels).mean(0)


@torch.no_grad()
def median_squared_distance(distances: Tensor) -> Tensor:
    """The (lower) median squared distance between two different samples: the scale of the median heuristic.

    Args:
        distances: (batch, batch) squared distances, 0 on the diagonal, none negative.

    Returns:
        A scalar above 0: the mean where the median is 0, and 1 where all samples coincide. No gradient.
    """
    m = distances.shape[0]
    # The m zeros of the diagonal sort first: counting past them leaves the off-diagonal ones, without copying these.
    median = distances.flatten().kthvalue(m + (m * (m - 1) + 1) // 2).values
    mean = distances.sum() / (m * (m - 1))
    scale = torch.where(median > ROUNDING * mean, median, mean)
    return torch.where(scale > 0, scale, 1.0)
