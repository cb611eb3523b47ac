"""Weight-bearing operations that send the error back by other weights than they went forward by.

What an operation's backward pass gives to its input depends on its weights and not on its input; what it gives to its
weights depends on its input and not on its weights. So one backward pass of the same operation, with the feedback
weights in place of its own, gives both: the error by the feedback weights, the true gradient of the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.utils import _pairfrom localrules import Operation




def apply_with_feedback(operation: Operation, feedback: Tensor) -> Tensor:
    """What the operation gives; in the backward pass the error goes to its input by ``feedback``.

    Args:
        operation: As it was met.
        feedback: Shaped like ``operation.weight``, which gets its own gradient, also where it was derived from others.

    Returns:
        The operation's output.
    """
    read: list[Tensor | None] = [operation.input, operation.weight, operation.bias, feedback]
    device = operation.input.device.type
    if torch.is_autocast_enabled(device):  # it does not reach into a Function of our own
        half = torch.get_autocast_dtype(device)
        read = [None if tensor is None else tensor.to(half) for tensor in read]
    if operation.kind == "linear":
        return _Linear.apply(*read)
    return _convolved(read, **operation.options)


def _convolved(
    read: list[Tensor | None], stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    inputs, weight, bias, feedback = read
    assert inputs is not None
    assert weight is not None
    dilations = _pair(dilation)
    if padding == "same":  # as torch does it: what is left over goes to the right and below
        rows, columns = (reach * (side - 1) for reach, side in zip(dilations, weight.shape[2:], strict=True))
        inputs = functional.pad(inputs, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
    padding = 0 if isinstance(padding, str) else padding
    return _Conv2d.apply(inputs, weight, bias, feedback, _pair(stride), _pair(padding), dilations, groups)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, feedback)
        return functional.linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        inputs, feedback = ctx.saved_tensors
        back, to_weight, to_bias, _ = ctx.needs_input_grad
        rows = error.flatten(0, -2)
        return (
            error @ feedback if back else None,
            rows.T @ inputs.flatten(0, -2) if to_weight else None,
            rows.sum(0) if to_bias else None,
            None,
        )


class _Conv2d(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor, *options: Any
    ) -> Tensor:
        ctx.save_for_backward(inputs, feedback)
        ctx.options = options
        return functional.conv2d(inputs, weight, bias, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        inputs, feedback = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.options
        found = torch.ops.aten.convolution_backward(
            error,
            inputs,
            feedback,
            [feedback.shape[0]],
            stride,
            padding,
            dilation,
            False,  # not transposed
            [0, 0],
            groups,
            ctx.needs_input_grad[:3],
        )
        return (*found, None, None, None, None, None)
