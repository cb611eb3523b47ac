"""Weight-bearing operations whose backward pass uses other weights than their forward pass.

The gradient of an operation with respect to its input depends on its weights and not on its input; that with respect to
its weights depends on its input and not on its weights. So one backward pass of the same operation, with the feedback
weights in place of its own, computes both: the error by the feedback weights, and the true gradient of the weights.
Feedback weights that require gradients get that of the forward weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.modules.utils import _pair

from localrules import Operation
from localrules.core.ops import numeric_padding


def apply_with_feedback(operation: Operation, feedback: Tensor) -> Tensor:
    """Run the operation; in the backward pass the error reaches its input through ``feedback``.

    Args:
        operation: The operation.
        feedback: Shaped like ``operation.weight``, which gets its own true gradient, also where it is derived from
            other parameters. If ``feedback`` requires gradients, it gets the same one.

    Returns:
        The operation's output.
    """
    tensors: list[Tensor | None] = [operation.input, operation.weight, operation.bias, feedback]
    device = operation.input.device.type
    if torch.is_autocast_enabled(device):  # autocast does not reach into an autograd.Function
        half = torch.get_autocast_dtype(device)
        tensors = [None if tensor is None else tensor.to(half) for tensor in tensors]
    if operation.kind == "linear":
        return _Linear.apply(*tensors)
    return _convolve(tensors, **operation.options)


def _convolve(
    tensors: list[Tensor | None], stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor:
    inputs, weight, bias, feedback = tensors
    assert inputs is not None
    assert weight is not None
    inputs, padding = numeric_padding(inputs, weight, padding, dilation)
    return _Conv2d.apply(inputs, weight, bias, feedback, _pair(stride), _pair(padding), _pair(dilation), groups)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, feedback)
        return functional.linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor | None, ...]:
        inputs, feedback = ctx.saved_tensors
        to_input, to_weight, to_bias, to_feedback = ctx.needs_input_grad
        errors = error.flatten(0, -2)
        of_weight = errors.T @ inputs.flatten(0, -2) if to_weight or to_feedback else None
        return (
            error @ feedback if to_input else None,
            of_weight if to_weight else None,
            errors.sum(0) if to_bias else None,
            of_weight if to_feedback else None,
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
        to_input, to_weight, to_bias, to_feedback = ctx.needs_input_grad[:4]
        of_input, of_weight, of_bias = torch.ops.aten.convolution_backward(
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
            (to_input, to_weight or to_feedback, to_bias),
        )
        at_feedback = of_weight if to_feedback else None
        return (of_input, of_weight if to_weight else None, of_bias, at_feedback, None, None, None, None)
