"""Layers without their activations, as the energy of equilibrium propagation has them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from localrules import Layer
from localrules.core.interception import Forward

ACTIVATIONS = frozenset(
    {
        *(getattr(functional, name) for name in ("relu", "relu6", "hardtanh", "hardsigmoid", "elu", "selu", "celu")),
        *(getattr(functional, name) for name in ("leaky_relu", "gelu", "silu", "softplus", "hardswish", "mish")),
        *(getattr(where, name) for where in (torch, Tensor) for name in ("relu", "sigmoid", "tanh", "clamp")),
        *(torch.selu, torch.celu),
    }
)


class _WithoutActivations(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in ACTIVATIONS else func(*args, **(kwargs or {}))


def without_activations(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a layer with every activation left out; for :func:`~localrules.core.interception.intercept_layers`."""
    with _WithoutActivations():
        return forward(*args, **kwargs)
