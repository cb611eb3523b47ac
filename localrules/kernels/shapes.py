"""What a batch must look like before any kernel is computed on it."""

from __future__ import annotations

from torch import Tensor

from localrules.errors import UsageError
from localrules.kernels.precision import upcast

MIN_BATCH = 2
"""A kernel compares samples with each other: below two there is nothing to compare."""


def features(x: Tensor) -> Tensor:
    """Flatten a batch of anything into rows of features.

    Args:
        x: (batch, ...) of any dtype.

    Returns:
        (batch, d), float32, or float64 where ``x`` is float64.
    """
    return upcast(x).reshape(x.shape[0], -1)


def require_batch(size: int, asker: str, minimum: int = MIN_BATCH) -> None:
    """Refuse a batch that is too small for ``asker``.

    Raises:
        UsageError: Fewer than ``minimum`` samples; the message says how many are needed.
    """
    if size < minimum:
        raise UsageError(
            f"{asker} needs a batch of at least {minimum} samples",
            where=f"a batch of {size}",
            why="it compares the samples of a batch with each other",
            fix="use a larger batch size, or drop the last short batch",
        )


def require_gram(k: Tensor, asker: str) -> int:
    """Refuse what is no Gram matrix, and return its batch size.

    Raises:
        UsageError: Not square, or fewer than two samples.
    """
    if k.ndim != 2 or k.shape[0] != k.shape[1]:
        raise UsageError(
            f"{asker} needs a square Gram matrix",
            where=f"a tensor of shape {tuple(k.shape)}",
            why="the rows and the columns are the same samples",
            fix="pass what gram(), gaussian(), cosine(), linear() or labels_gram() return",
        )
    require_batch(k.shape[0], asker)
    return k.shape[0]


def require_pair(a: Tensor, b: Tensor, asker: str) -> int:
    """Refuse two Gram matrices of different batches, and return their batch size.

    Raises:
        UsageError: Not square, of different sizes, or fewer than two samples.
    """
    if a.shape != b.shape:
        raise UsageError(
            f"{asker} needs two Gram matrices of the same batch",
            where=f"shapes {tuple(a.shape)} and {tuple(b.shape)}",
            fix="compute both from the same samples, in the same order",
        )
    return require_gram(a, asker)
