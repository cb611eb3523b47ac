"""A check that no error can go back through a forward weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from localrules import Layer, Network, Operation, UsageError
from localrules.core.interception import Forward, intercept_layers, tensor_leaves
from localrules.utils.torch_utils import eval_mode

# The error that passes an addition does not depend on what is added, and none goes back into an embedding's indices.
_WITHOUT_TRANSPORT = {
    "add",
    "add_",
    "sub",
    "sub_",
    "__add__",
    "__radd__",
    "__iadd__",
    "__sub__",
    "__rsub__",
    "embedding",
}


def check_coverage(network: Network, operations: list[Operation], images: Tensor) -> None:
    """Refuse a network in which a parameter with two or more dimensions carries errors outside of operations.

    Args:
        network: The network.
        operations: What :meth:`localrules.Network.operations` found.
        images: Shape (batch, ...).

    Raises:
        UsageError: Such a parameter, by name, with the function that uses it.
    """
    uses = _uses(network, images)
    for layer in network.layers:
        own = [operation for operation in operations if operation.layer is layer]
        covered = _parameters_behind(own, layer)
        for name, parameter in layer.module.named_parameters():
            functions = uses.get(id(parameter), ())
            if parameter.dim() > 1 and id(parameter) not in covered and functions:
                raise UsageError(
                    f"layer {layer.name!r} cannot have feedback weights for {name!r}",
                    where=f"layer {layer.name!r}, {type(layer.module).__name__}, parameter {name!r}",
                    why=f"{', '.join(functions)} would send the error back through the forward weights: only the "
                    "operations linear and conv2d have feedback weights",
                    fix="use a rule that needs no feedback weights: backprop, dfa, or a local one",
                )


def _parameters_behind(operations: list[Operation], layer: Layer) -> set[int]:
    """``id`` of the layer's parameters that are weights of operations, or that such weights are derived from."""
    weights = [operation.weight for operation in operations]
    parameters = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    if not weights or not parameters:
        return {id(weight) for weight in weights}
    total = torch.stack([weight.float().square().sum() for weight in weights]).sum()
    with torch.enable_grad():
        found = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else ()
    derived = {id(one) for one, gradient in zip(parameters, found, strict=False) if gradient is not None}
    return derived | {id(weight) for weight in weights}


class _UseRecorder(TorchFunctionMode):
    """Records by which functions parameters are used."""

    def __init__(self, parameters: set[int]) -> None:
        super().__init__()
        self._parameters = parameters
        self.uses: dict[int, dict[str, None]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", str(func))
        if isinstance(output, Tensor | tuple | list) and name not in _WITHOUT_TRANSPORT and name != "__get__":
            for tensor in tensor_leaves((args, kwargs)):
                if id(tensor) in self._parameters:
                    self.uses.setdefault(id(tensor), {})[name] = None
        return output


def _uses(network: Network, images: Tensor) -> dict[int, dict[str, None]]:
    recorder = _UseRecorder({id(parameter) for parameter in network.parameters()})

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with recorder:
            return forward(*args, **kwargs)

    with torch.no_grad(), eval_mode(network), intercept_layers(network.layers, visit):
        network(images)
    return recorder.uses
