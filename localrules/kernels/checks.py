"""Checks of a batch before a kernel is computed on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from localrules.errors import UsageError

MIN_BATCH = 2
"""A kernel compares samples with each other: below two there is nothing to compare."""


def flatten_features(x: Tensor) -> Tensor:
    """Flatten a batch of anything into rows of features.

    Args:
        x: (batch, ...) of any dtype.

    Returns:
        (batch, d), float32, or float64 where ``x`` is float64.
    """
    return to_float32(x).reshape(x.shape[0], -1)


def require_batch(size: int, caller: str, minimum: int = MIN_BATCH) -> None:
    """Refuse a batch that is too small for ``asker``.

    Raises:
        UsageError: Fewer than ``minimum`` samples; the message says how many are needed.
    """
    if size < minimum:
        raise UsageError(
            f"{caller} needs a batch of at least {minimum} samples",
            where=f"a batch of {size}",
            why="it compares the samples of a batch with each other",
            fix="use a larger batch size, or drop the last short batch",
        )


def require_gram(k: Tensor, caller: str) -> int:
    """Refuse what is not a Gram matrix, and return its batch size.

    Raises:
        UsageError: Not square, or fewer than two samples.
    """
    if k.ndim != 2 or k.shape[0] != k.shape[1]:
        raise UsageError(
            f"{caller} needs a square Gram matrix",
            where=f"a tensor of shape {tuple(k.shape)}",
            why="the rows and the columns are the same samples",
            fix="pass what gram(), gaussian(), cosine(), linear() or labels_gram() return",
        )
    require_batch(k.shape[0], caller)
    return k.shape[0]


def require_pair(a: Tensor, b: Tensor, caller: str) -> int:
    """Refuse two Gram matrices of different batches, and return their batch size.

    Raises:
        UsageError: Not square, of different sizes, or fewer than two samples.
    """
    if a.shape != b.shape:
        raise UsageError(
            f"{caller} needs two Gram matrices of the same batch",
            where=f"shapes {tuple(a.shape)} and {tuple(b.shape)}",
            fix="compute both from the same samples, in the same order",
        )
    return require_gram(a, caller)


P = ParamSpec("P")
T = TypeVar("T")


def to_float32(x: Tensor) -> Tensor:
    """Half-precision, integer and boolean tensors as float32; float32 and float64 as they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


@contextmanager
def no_autocast(x: Tensor) -> Iterator[None]:
    """A context in which autocast is off for the device of ``x``, and so is TF32, in products and convolutions."""
    backends: tuple[Any, ...] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    shortened = [backend for backend in backends if x.device.type == "cuda" and backend.allow_tf32]
    for backend in shortened:
        backend.allow_tf32 = False
    try:
        with torch.autocast(device_type=x.device.type, enabled=False):
            yield
    finally:
        for backend in shortened:
            backend.allow_tf32 = True


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function of tensors in full precision: floating arguments are upcast, autocast is off.

    Gradients flow through the cast, so a half-precision input receives a half-precision gradient.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        raised: list[Any] = [_cast_up(value) for value in args]
        named: dict[str, Any] = {key: _cast_up(value) for key, value in kwargs.items()}
        first = next(value for value in [*raised, *named.values()] if isinstance(value, Tensor))
        with no_autocast(first):
            return function(*raised, **named)

    return wrapped


def _cast_up(value: object) -> object:
    return to_float32(value) if isinstance(value, Tensor) and value.is_floating_point() else value
