"""The Gaussian kernel, and where its width comes from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from localrules.errors import UsageError
from localrules.kernels.gram import ROUNDING, inner_products
from localrules.kernels.precision import full_precision
from localrules.kernels.shapes import features, require_batch

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
    rows = features(x)
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
