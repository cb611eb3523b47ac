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

ACTIVATIONS = frozenset(
    {
        *(getattr(functional, name) for name in ("relu", "relu6", "hardtanh", "hardsigmoid", "elu", "selu", "celu")),
        *(getattr(functional, name) for name in ("leaky_relu", "gelu", "silu", "softplus", "hardswish", "mish")),
        *(getattr(where, name) for where in (torch, Tensor) for name in ("relu", "sigmoid", "tanh", "clamp")),
        *(torch.selu, torch.celu),
    }
)


class _WithoutActivations(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.left_out: list[Activation] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in ACTIVATIONS:
            return func(*args, **(kwargs or {}))
        rest, named = args[1:], {name: value for name, value in (kwargs or {}).items() if name != "inplace"}
        self.left_out.append(lambda tensor: func(tensor, *rest, **named))
        return args[0]


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
