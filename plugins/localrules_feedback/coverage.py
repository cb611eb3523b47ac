"""A check that no error can go back through a forward weight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from localrules import Layer, Network, UsageError
from localrules.core.interception import Forward, intercept_layers, tensor_leaves
from localrules.utils.torch_utils import autograd_nodes, eval_mode

# The error that passes an addition, or a place in a joined tensor, does not depend on what is added or stands beside.
_WITHOUT_TRANSPORT = {
    *("add", "add_", "__add__", "__radd__", "__iadd__"),
    *("sub", "sub_", "subtract", "__sub__", "__rsub__", "rsub", "__isub__"),
    *("cat", "concat", "concatenate", "stack", "hstack", "vstack", "where", "__setitem__"),
}

# What they return has the values of their first argument alone.
_OF_FIRST_ARGUMENT = {"to", "type_as", "expand_as", "view_as", "reshape_as"}

_OPERATIONS = (functional.linear, functional.conv2d)


def check_coverage(network: Network, images: Tensor) -> None:
    """Refuse a network in which a parameter with two or more dimensions carries errors outside of operations.

    A parameter is also followed through what is computed from it and from other parameters: transposed, scaled, added
    to.

    Args:
        network: The network.
        images: Shape (batch, ...).

    Raises:
        UsageError: Such a parameter, by name, with the function that uses it.
    """
    uses = _uses(network, images)
    for layer in network.layers:
        for name, parameter in layer.module.named_parameters():
            if functions := uses.get(id(parameter)):
                raise UsageError(
                    f"layer {layer.name!r} cannot have feedback weights for {name!r}",
                    where=f"layer {layer.name!r}, {type(layer.module).__name__}, parameter {name!r}",
                    why=f"{', '.join(functions)} would send the error back through the forward weights: only the "
                    "operations linear and conv2d of layers have feedback weights",
                    fix="use a rule that needs no feedback weights: backprop, dfa, or a local one",
                )


class _UseRecorder(TorchFunctionMode):
    """Records by which functions parameters meet values that depend on the network's input.

    Args:
        parameters: Those with two or more dimensions.
        images: The network's input; requires gradients if it is floating point.

    Attributes:
        uses: By ``id`` of a parameter, the names of the functions through which errors would pass its values.
        in_layer: Whether a layer runs now: only inside layers do operations have feedback weights.
    """

    def __init__(self, parameters: Iterable[Tensor], images: Tensor) -> None:
        super().__init__()
        self.uses: dict[int, dict[str, None]] = {}
        self.in_layer = False
        # By ``id`` of a tensor, the parameters behind it; those that depend on the input have none, as biases do.
        self._behind = {id(parameter): frozenset({id(parameter)}) for parameter in parameters}
        self._data = {id(images)}
        self._data_nodes = {images.grad_fn}
        self._alive: list[Tensor] = []  # an ``id`` is unique among living objects

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        name = getattr(func, "__name__", str(func))
        if name in _OF_FIRST_ARGUMENT and args:
            args, kwargs = args[:1], {}
        given = tensor_leaves((args, kwargs))
        written = [args[0]] if name == "__setitem__" else tensor_leaves(output)
        if not written or not given:
            return output
        for tensor in given:
            self._find_origin(tensor)
        data = [tensor for tensor in given if id(tensor) in self._data]
        behind = frozenset[int]().union(*(self._behind.get(id(tensor), ()) for tensor in given))
        # No error goes back into numbers of tokens or into masks.
        if any(tensor.is_floating_point() for tensor in data) and name not in _WITHOUT_TRANSPORT:
            for parameter in self._carriers(func, args, kwargs, behind):
                self.uses.setdefault(parameter, {})[name] = None
        for tensor in written:
            self._note(tensor, behind, is_data=bool(data))
        return output

    def _carriers(self, func: Any, args: Any, kwargs: Any, behind: frozenset[int]) -> frozenset[int]:
        """Those of the parameters behind a function's arguments through whose values an error would pass."""
        if func not in _OPERATIONS or not self.in_layer:
            return behind
        # The error has feedback weights on its way to the input, but not on its way to what stands for the weight.
        return self._behind.get(id(args[0] if args else kwargs["input"]), frozenset())

    def _find_origin(self, tensor: Tensor) -> None:
        """Note a tensor that no function gave that was seen here, such as that of an ``autograd.Function``."""
        if id(tensor) in self._data or id(tensor) in self._behind or tensor.grad_fn is None:
            return
        nodes = list(autograd_nodes(tensor))
        leaves = [id(node.variable) for node in nodes if hasattr(node, "variable")]
        behind = frozenset[int]().union(*(self._behind.get(leaf, ()) for leaf in leaves))
        self._note(tensor, behind, is_data=not self._data_nodes.isdisjoint(nodes))

    def _note(self, tensor: Tensor, behind: frozenset[int], *, is_data: bool) -> None:
        self._alive.append(tensor)
        if is_data:
            self._behind.pop(id(tensor), None)
            self._data.add(id(tensor))
            if tensor.grad_fn is not None:
                self._data_nodes.add(tensor.grad_fn)
        elif behind:
            self._behind[id(tensor)] = behind


def _uses(network: Network, images: Tensor) -> dict[int, dict[str, None]]:
    if images.is_floating_point():
        images = images.detach().requires_grad_().clone()  # the clone may be written to
    recorder = _UseRecorder([parameter for parameter in network.parameters() if parameter.dim() > 1], images)

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        recorder.in_layer = True
        try:
            return forward(*args, **kwargs)
        finally:
            recorder.in_layer = False

    with torch.enable_grad(), eval_mode(network), intercept_layers(network.layers, visit), recorder:
        network(images)
    return recorder.uses
