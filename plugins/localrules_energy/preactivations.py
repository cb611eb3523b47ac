"""Layers without their activations, as the energy of equilibrium propagation has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from localrules import Layer
from localrules.core.interception import Forward, patch_forwards

Activation = Callable[[Tensor], Tensor]

_NAMES = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus", "threshold"),
    *("sigmoid", "hardsigmoid", "logsigmoid", "tanh", "hardtanh", "tanhshrink", "softsign", "hardswish"),
    *("softshrink", "hardshrink", "clamp", "clip", "clamp_min", "clamp_max"),
)

ACTIVATIONS: dict[Any, Any] = {
    getattr(owner, name + ending): getattr(owner, name)
    for owner in (torch, Tensor, functional)
    for name in _NAMES
    for ending in ("", "_")  # with "_" it writes to its input
    if hasattr(owner, name + ending)
} | {torch.special.expit: torch.sigmoid}
"""Torch's elementwise activations, each with its form that does not write to its input.

One whose slope is learned or drawn (``prelu``, ``rrelu``) is not one of them.
"""


class _WithoutActivations(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[Activation] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        activation = ACTIVATIONS.get(func)
        if activation is None:
            return func(*args, **(kwargs or {}))
        named = {name: value for name, value in (kwargs or {}).items() if name != "inplace"}
        tensor, rest = (args[0], args[1:]) if args else (named.pop("input"), ())
        self.left_out.append(lambda value: activation(value, *rest, **named))
        return tensor


def without_activations(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a layer with every activation left out; for :func:`~localrules.core.interception.intercept_layers`."""
    with _WithoutActivations():
        return forward(*args, **kwargs)


def activations_last(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a layer with its activations behind all else; for :func:`~localrules.core.interception.intercept_layers`."""
    with _WithoutActivations() as mode:
        output = forward(*args, **kwargs)
    return pytree.tree_map_only(Tensor, lambda leaf: apply_all(mode.left_out, leaf), output)


def apply_all(activations: Sequence[Activation], tensor: Tensor) -> Tensor:
    """The activations of a layer, in order."""
    return reduce(lambda value, activation: activation(value), activations, tensor)


@contextmanager
def split_activations(layers: Sequence[Layer]) -> Iterator[dict[str, list[Activation]]]:
    """Leave out every activation of these layers, and collect them: by layer name, in order, of its latest run."""
    found: dict[str, list[Activation]] = {}

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _WithoutActivations() as mode:
            output = forward(*args, **kwargs)
        found[layer.name] = mode.left_out
        return output

    with patch_forwards(layers, visit):
        yield found
