"""Full precision inside, whatever the network around it runs in.

Gram matrices lose their small eigenvalues in half precision, and with them all that centring leaves over: every
function of this package computes in float32 (float64 stays float64) with autocast off.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def upcast(x: Tensor) -> Tensor:
    """Half-precision, integer and boolean tensors as float32; float32 and float64 as they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A context in which autocast is off for the device of ``x``."""
    return torch.autocast(device_type=x.device.type, enabled=False)


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Run a function of tensors in full precision: floating arguments are upcast, autocast is off.

    Gradients flow through the cast, so a half-precision input receives a half-precision gradient.
    """

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        raised: list[Any] = [_raise(value) for value in args]
        named: dict[str, Any] = {key: _raise(value) for key, value in kwargs.items()}
        first = next(value for value in [*raised, *named.values()] if isinstance(value, Tensor))
        with no_autocast(first):
            return function(*raised, **named)

    return wrapped


def _raise(value: object) -> object:
    return upcast(value) if isinstance(value, Tensor) and value.is_floating_point() else value
