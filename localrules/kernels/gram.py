"""Linear and cosine kernels: (batch, d) features to a (batch, batch) Gram matrix.

Every kernel starts from the inner products of the rows, so that a batch costs one matrix product forward and one
backward, and everything else is elementwise on (batch, batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from localrules.errors import UsageError
from localrules.kernels.checks import flatten_features, full_precision, no_autocast, require_batch

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
    return inner_products(flatten_features(x))


@full_precision
def cosine(x: Tensor, *, centered: bool = False, eps: float = ROUNDING) -> Tensor:
    """The cosine kernel: inner products of the rows, each divided by its length.

    Torch refuses to differentiate its gradient again.

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
    cosines: Tensor = _Cosines.apply(flatten_features(x), eps**2, centered)
    return cosines


class _Cosines(torch.autograd.Function):
    """The cosines of the (centred) rows of a (batch, d) matrix, with one product in the backward pass.

    With ``s`` one over a row's length and ``K`` the cosines, a slope ``G`` in these (made symmetric) is the slope
    ``s G s - diag(s^2 sum(G K))`` in half the inner products. Centred rows have a mean of 0, so that it is enough to
    centre this slope, (batch, batch), and not its product with the rows.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, tolerance: float, centered: bool) -> Tensor:
        shift: Tensor | float = 0.0
        if centered:
            mean = rows.mean(0)
            rows = rows - mean
            shift = torch.dot(mean, mean)
        ctx.centered = centered
        products = rows @ rows.T
        lengths = products.diagonal()  # squared
        alive = lengths > tolerance * (lengths.mean() + shift)
        scale = torch.where(alive, torch.where(alive, lengths, 1.0).rsqrt(), 0.0)
        cosines = products.mul_(scale).mul_(scale[:, None])
        ctx.save_for_backward(rows, cosines, scale)
        return cosines

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        rows, cosines, scale = ctx.saved_tensors
        with no_autocast(rows):
            slope = grad + grad.T
            lengths = (slope * cosines).sum(1) * scale.square()
            slope.mul_(scale).mul_(scale[:, None]).diagonal().sub_(lengths)
            if ctx.centered:
                slope -= slope.mean(0)
            return slope @ rows, None, None


Width = float | Literal["median"]


@full_precision
def gaussian(x: Tensor, width: Width | Sequence[Width] = "median", *, scale_by_dim: bool = True) -> Tensor:
    """The Gaussian kernel ``exp(-|a - b|^2 / (2 width^2 d))``.

    As in Ma, Lewis & Kleijn 2020 (https://arxiv.org/abs/1908.01580), whose width is 5 to 6 for standardised inputs.

    Args:
        x: (batch, ...), flattened to (batch, d).
        width: A fixed width; or ``"median"`` (the default, ours), for which ``width^2 d`` is the median squared
            distance between two samples of the batch, taken as a constant; or several of them, whose kernels are
            averaged.
        scale_by_dim: Multiply ``width^2`` by the dimension d (the paper's). ``"median"`` does not depend on it.

    Returns:
        (batch, batch), entries in [0, 1], ones on the diagonal.

    Raises:
        UsageError: A batch of one, or a width that is none.
    """
    widths = list_widths(width)
    require_batch(x.shape[0], "the Gaussian kernel")
    distances = squared_distances(x)
    dim = x[0].numel() if scale_by_dim else 1
    scales = [median_squared_distance(distances) if w == "median" else float(w) ** 2 * dim for w in widths]
    kernels = [(distances * (-0.5 / scale)).exp() for scale in scales]
    return kernels[0] if len(kernels) == 1 else torch.stack(kernels).mean(0)


def list_widths(width: Width | Sequence[Width]) -> list[Width]:
    """The widths of a Gaussian kernel as a list, checked.

    Raises:
        UsageError: One is neither ``"median"`` nor a number above 0, or there is none.
    """
    widths: list[Width] = [width] if isinstance(width, int | float | str) else list(width)
    unusable = [w for w in widths if w != "median" and not (isinstance(w, int | float) and w > 0)]
    if unusable or not widths:
        raise UsageError(
            "the Gaussian kernel has no usable width",
            where=f"width {unusable[0]!r}" if unusable else "an empty list of widths",
            fix="give a number above 0, 'median', or a list of these",
        )
    return widths


@full_precision
def squared_distances(x: Tensor) -> Tensor:
    """Squared Euclidean distances of the rows.

    Args:
        x: (batch, ...), flattened to (batch, d).

    Returns:
        (batch, batch), none negative; exactly 0, with gradient 0, on the diagonal and for identical rows.
    """
    rows = flatten_features(x)
    # Distances do not move with the mean, so it needs no gradient; without it float32 keeps more digits.
    products = inner_products(rows - rows.detach().mean(0))
    lengths = products.diagonal()
    sums = lengths[:, None] + lengths
    distances = sums - 2 * products
    return torch.where(distances > ROUNDING * sums.detach(), distances, 0.0)


@torch.no_grad()
def median_squared_distance(distances: Tensor) -> Tensor:
    """The (lower) median squared distance between two different samples: the scale of the median heuristic.

    Args:
        distances: (batch, batch) squared distances, 0 on the diagonal, none negative.

    Returns:
        A scalar above 0, without gradient: where more than half of all pairs coincide the mean stands in for the
        median, and 1 where all of them do.
    """
    m = distances.shape[0]
    # The m zeros of the diagonal sort first: counting past them leaves the off-diagonal ones, without copying these.
    median = distances.flatten().kthvalue(m + (m * (m - 1) + 1) // 2).values
    scale = torch.where(median > 0, median, distances.sum() / (m * (m - 1)))
    return torch.where(scale > 0, scale, 1.0)
