"""Standing inside layers while a rule works: seeing what they are given, and answering in their place.

A rule may step in between layers itself, run them several times, or again on the way back. So these stand innermost, at
the module's own forward, and count every call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.nn.modules.utils import _pair
from torch.utils import _pytree as pytree

from localrules.core.interception import Forward, patch_forwards, tensor_leaves
from localrules.core.layer import Layer
from localrules.core.ops import Operation, intercept_ops
from localrules.utils.torch_utils import autograd_nodes

Outputs = dict[str, list[list[Tensor]]]
"""By layer name: for each call, the tensors that the layer gave."""


class Recorder:
    """Keeps what every layer gave in every call, and whether a layer was given another's graph.

    Attributes:
        outputs: What was given, copied.
        crossings: Pairs (layer, source): an input of the layer had a graph that led to the source's output.
    """

    def __init__(self) -> None:
        self.outputs: Outputs = {}
        self.crossings: set[tuple[str, str]] = set()
        self._made: dict[Node, str] = {}

    def visit(self, layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the layer as it is."""
        for tensor in tensor_leaves((args, kwargs)):
            self.crossings |= {
                (layer.name, self._made[node])
                for node in autograd_nodes(tensor)
                if self._made.get(node, layer.name) != layer.name
            }
        output = forward(*args, **kwargs)
        given = tensor_leaves(output)
        self._made |= {tensor.grad_fn: layer.name for tensor in given if tensor.grad_fn is not None}
        self.outputs.setdefault(layer.name, []).append([tensor.detach().clone() for tensor in given])
        return output

    def forget_graphs(self) -> None:
        """Let go of the nodes by which layers were recognised."""
        self._made.clear()


@contextmanager
def record_layers(layers: Sequence[Layer]) -> Iterator[Recorder]:
    """Yields a recorder that stands inside all layers."""
    recorder = Recorder()
    with patch_forwards(layers, recorder.visit):
        yield recorder
    recorder.forget_graphs()


@contextmanager
def replay_outputs(layer: Layer, outputs: Mapping[str, list[list[Tensor]]], *, scale: float = 2.0) -> Iterator[None]:
    """Let a layer give what was recorded, call by call, and send back ``scale`` times the error that comes to it.

    Whatever it has become, its readers see the same values: who still learns otherwise, below it, has felt the layer
    by a signal that came down through it.
    """
    calls = iter(outputs.get(layer.name, []))

    def visit(_: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = forward(*args, **kwargs)
        values = next(calls, None)
        if values is None:
            return output
        known = iter(values)
        return pytree.tree_map_only(Tensor, lambda tensor: _Shown.apply(tensor, next(known), scale), output)

    with patch_forwards([layer], visit):
        yield


@contextmanager
def perturb_weights(layer: Layer, seed: int) -> Iterator[list[Operation]]:
    """Let the weight-bearing operations of a layer send errors back by other weights, of the same signs.

    The values that they give, and the gradients of their own weights, stay. Only a rule that sends the error back
    through the transposed weights of the way forward feels it.

    Yields:
        A list that fills with the operations that were met.
    """
    draws = torch.Generator().manual_seed(seed)
    met: list[Operation] = []
    factors: dict[int, Tensor] = {}

    def meet(operation: Operation) -> Tensor:
        met.append(operation)
        weight = operation.weight
        size = weight.numel()
        if size not in factors:  # the same in every call
            factors[size] = 0.5 + torch.rand(size, generator=draws).to(weight)
        plain = _values(operation)
        more = (weight * (factors[size].view(weight.shape) - 1)).detach()
        operation.weight = weight + more
        return _Shown.apply(operation.run(), plain, 1.0)

    def visit(_: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with intercept_ops(meet):
            return forward(*args, **kwargs)

    with patch_forwards([layer], visit):
        yield met


def _values(operation: Operation) -> Tensor:
    """The output of the operation, without interceptions."""
    run = torch.ops.aten.linear if operation.kind == "linear" else torch.ops.aten.conv2d
    sides = {name: _pair(value) for name, value in operation.options.items() if name in ("stride", "dilation")}
    if isinstance(operation.options.get("padding"), int):
        sides["padding"] = _pair(operation.options["padding"])
    with torch.no_grad():
        values: Tensor = run(operation.input, operation.weight, operation.bias, **{**operation.options, **sides})
    return values


class _Shown(torch.autograd.Function):
    """Gives ``values`` for a tensor, to the bit, and sends back ``scale`` times what comes."""

    @staticmethod
    def forward(tensor: Tensor, values: Tensor, scale: float) -> Tensor:
        return values.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.scale = inputs[2]

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        return error * ctx.scale, None, None
