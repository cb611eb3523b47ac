"""The weight-bearing operations inside a layer, watched or replaced while its forward runs.

A module's parameters do not say how they are used: a kernel may be folded, shared or scaled before it meets its input.
So the operations are met where they happen, as calls of ``linear`` and ``conv2d``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.grad import conv2d_weight
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode

from localrules.core.layer import Layer
from localrules.errors import UsageError
from localrules.utils.torch_utils import at_least_float32, autograd_nodes

_NAMES: dict[Any, tuple[Literal["linear", "conv2d"], tuple[str, ...]]] = {
    functional.linear: ("linear", ("input", "weight", "bias")),
    functional.conv2d: ("conv2d", ("input", "weight", "bias", "stride", "padding", "dilation", "groups")),
}


@dataclass(eq=False)
class Operation:
    """One call of a weight-bearing operation.

    Attributes:
        kind: ``"linear"`` or ``"conv2d"``.
        input: (batch, features) or (batch, channels, height, width).
        weight: (units, features) or (units, channels / groups, height, width), as the operation meets it.
        bias: (units,), or ``None``.
        options: Stride, padding, dilation, groups of a convolution, where given.
        output: What it gave: pre-activations, (batch, units) or (batch, units, height, width).
        layer: The layer in which it ran, where :meth:`Network.intercept_operations` met it.
        key: A stable name of the operation, unique in its network; may name a buffer.
    """

    kind: Literal["linear", "conv2d"]
    input: Tensor
    weight: Tensor
    bias: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)
    output: Tensor | None = None
    layer: Layer | None = None
    key: str = ""

    def run(self) -> Tensor:
        """The operation itself."""
        if self.kind == "linear":
            return functional.linear(self.input, self.weight, self.bias)
        return functional.conv2d(self.input, self.weight, self.bias, **self.options)

    def weight_gradient(self, post: Tensor) -> Tensor:
        """Correlation of ``post`` at the units with the input before them: ``sum post x input``, over batch and
        positions; the gradient of ``(post * output).sum()`` with respect to ``weight``. No graph.

        Args:
            post: Shaped like ``output``.

        Returns:
            Shaped like ``weight``.
        """
        with torch.no_grad():
            inputs = at_least_float32(self.input.detach())
            post = post.to(inputs.dtype)
            if self.kind == "linear":
                return post.flatten(0, -2).T @ inputs.flatten(0, -2)
            padding, dilation = (self.options.get(name, default) for name, default in (("padding", 0), ("dilation", 1)))
            inputs, padding = numeric_padding(inputs, self.weight, padding, dilation)
            return conv2d_weight(inputs, list(self.weight.shape), post, **{**self.options, "padding": padding})


def numeric_padding(inputs: Tensor, weight: Tensor, padding: Any, dilation: Any) -> tuple[Tensor, Any]:
    """A convolution's input and padding as numbers, where the padding is a word.

    Args:
        inputs: (batch, channels, height, width).
        weight: (units, channels / groups, height, width).
        padding: ``"same"``, ``"valid"``, or one or two numbers.
        dilation: One or two numbers.

    Returns:
        For ``"same"`` the input with zeros around it; and the padding that remains.
    """
    if not isinstance(padding, str):
        return inputs, padding
    if padding == "same":  # as in torch, the odd zero goes to the right and below
        y, x = (step * (side - 1) for step, side in zip(_pair(dilation), weight.shape[2:], strict=True))
        inputs = functional.pad(inputs, (x // 2, x - x // 2, y // 2, y - y // 2))
    return inputs, 0


Handler = Callable[[Operation], Tensor]
"""Called in place of an operation; returns what the operation shall give."""


class _OpInterceptor(TorchFunctionMode):
    def __init__(self, handler: Handler) -> None:
        super().__init__()
        self._handler = handler

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = _NAMES.get(func)
        if named is None:
            return func(*args, **(kwargs or {}))
        kind, names = named
        given = {**dict(zip(names, args, strict=False)), **(kwargs or {})}
        call = Operation(kind, given.pop("input"), given.pop("weight"), given.pop("bias", None), given)
        return self._handler(call)  # torch sets the mode aside meanwhile: the handler's own operations are not met


def check_operations(operations: Sequence[Operation], layer: Layer, rule: str) -> None:
    """For rules that change the weights of operations: refuse a layer with weights that no operation uses.

    Weights are parameters of two or more dimensions, but for those of one entry along the first: it stands for the
    samples, all of which such a parameter shifts or scales alike, as the positions of tokens do. An operation also uses
    the parameters from which its weight is derived.

    Args:
        operations: Those that were met while the layer ran.
        layer: The layer.
        rule: The rule's class, for the error.

    Raises:
        UsageError: The layer has trainable parameters, and no operation was met; or one of its trainable weights is
            behind none.
    """
    learned = {name: parameter for name, parameter in layer.module.named_parameters() if parameter.requires_grad}
    left = list(_left_out(operations, learned)) if operations else list(learned)
    if left:
        met = f"none uses these of the layer's: {', '.join(left)}"
        none = f"the layer has none: its parameters ({', '.join(left)}) are used by other operations"
        raise UsageError(
            f"{rule} cannot train layer {layer.name!r}",
            where=f"layer {layer.name!r}, {type(layer.module).__name__}",
            why=f"it changes the weights of linear and conv2d operations, and {met if operations else none}",
            fix="choose a rule that trains any layer, such as local-ce or backprop, or another network; or freeze "
            "these parameters with requires_grad_(False)",
        )


def _left_out(operations: Sequence[Operation], learned: Mapping[str, Tensor]) -> Iterator[str]:
    """The names of those weights that are behind no operation's weight."""
    used = {id(operation.weight) for operation in operations}
    weights = {name: each for name, each in learned.items() if each.dim() > 1 and len(each) > 1}
    left = {name: weight for name, weight in weights.items() if id(weight) not in used}
    if not left or not torch.is_grad_enabled():  # without a graph, what a weight is derived from is not known
        return
    nodes = [node for operation in operations for node in autograd_nodes(operation.weight)]
    used |= {id(node.variable) for node in nodes if hasattr(node, "variable")}
    yield from (name for name, parameter in left.items() if id(parameter) not in used)


@contextmanager
def intercept_ops(handler: Handler) -> Iterator[None]:
    """Let ``handler`` stand in for every weight-bearing operation for as long as the context lasts."""
    with _OpInterceptor(handler):
        yield


@contextmanager
def record_ops() -> Iterator[list[Operation]]:
    """Yields a list that fills with the operations as they run."""
    seen: list[Operation] = []

    def watch(operation: Operation) -> Tensor:
        operation.output = operation.run()
        seen.append(operation)
        return operation.output

    with intercept_ops(watch):
        yield seen
