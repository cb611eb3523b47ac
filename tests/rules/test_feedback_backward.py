"""Operations that send the error back through other weights: against autograd with those weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from localrules.core.ops import Operation
from localrules_feedback.backward import apply_with_feedback

CONVOLUTIONS: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "plain": ((6, 4, 3, 3), {}),
    "strided and padded": ((6, 4, 3, 3), {"stride": 2, "padding": 1}),
    "one axis apart": ((6, 4, 3, 1), {"stride": (2, 1), "padding": (1, 0)}),
    "dilated": ((6, 4, 3, 3), {"dilation": 2}),
    "grouped": ((6, 2, 3, 3), {"groups": 2}),
    "padding same": ((6, 4, 3, 3), {"padding": "same"}),
    "padding same, even kernel": ((6, 4, 4, 2), {"padding": "same", "dilation": 2}),
    "padding valid": ((6, 4, 3, 3), {"padding": "valid"}),
}


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradients(operation: Operation, feedback: Tensor | None, error: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output and the gradients of input, weight and bias."""
    leaves = [operation.input, operation.weight, *([] if operation.bias is None else [operation.bias])]
    output = operation.run() if feedback is None else apply_with_feedback(operation, feedback)
    return output, list(torch.autograd.grad(output, leaves, error))


def assert_error_by_feedback_and_own_weight_gradient(operation: Operation, feedback: Tensor) -> None:
    error = draw(*operation.run().shape, seed=9)
    output, (back, *own) = gradients(operation, feedback, error)
    true_output, (_, *true_own) = gradients(operation, None, error)
    by_feedback = Operation(operation.kind, operation.input, feedback, None, operation.options)
    expected = torch.autograd.grad(by_feedback.run(), operation.input, error)[0]
    assert torch.equal(output, true_output)
    torch.testing.assert_close(back, expected)
    torch.testing.assert_close(own, true_own)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_a_convolution(case: str, bias: bool) -> None:
    shape, options = CONVOLUTIONS[case]
    offset = draw(6, seed=2).requires_grad_() if bias else None
    inputs, weight = draw(3, 4, 9, 8, seed=0).requires_grad_(), draw(*shape, seed=1).requires_grad_()
    operation = Operation("conv2d", inputs, weight, offset, options)
    assert_error_by_feedback_and_own_weight_gradient(operation, draw(*shape, seed=3))


@pytest.mark.parametrize("batch", [(3,), (3, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_fully_connected_layer(batch: tuple[int, ...], bias: bool) -> None:
    offset = draw(6, seed=2).requires_grad_() if bias else None
    inputs, weight = draw(*batch, 4, seed=0).requires_grad_(), draw(6, 4, seed=1).requires_grad_()
    assert_error_by_feedback_and_own_weight_gradient(Operation("linear", inputs, weight, offset), draw(6, 4, seed=3))


def test_by_hand() -> None:
    """delta W in back-propagation is delta B here, and the weight's gradient is the outer product as ever."""
    inputs, weight = torch.tensor([[2.0, 3.0]], requires_grad=True), torch.tensor([[1.0, -1.0]], requires_grad=True)
    feedback = torch.tensor([[10.0, 20.0]])
    apply_with_feedback(Operation("linear", inputs, weight), feedback).backward(torch.tensor([[0.5]]))
    assert inputs.grad is not None
    assert weight.grad is not None
    assert inputs.grad.tolist() == [[5.0, 10.0]]
    assert weight.grad.tolist() == [[1.0, 1.5]]
    assert feedback.grad is None


def test_a_derived_weight_hands_its_gradient_on() -> None:
    inputs, kernel = draw(3, 4, 8, 8, seed=0).requires_grad_(), draw(6, 4, 3, 3, seed=1).requires_grad_()
    scale = draw(4, seed=2).requires_grad_()
    folded = Operation("conv2d", inputs, kernel * scale.view(1, -1, 1, 1))
    found = torch.autograd.grad(apply_with_feedback(folded, draw(6, 4, 3, 3, seed=3)).sum(), [kernel, scale])
    expected = torch.autograd.grad(functional.conv2d(inputs, kernel * scale.view(1, -1, 1, 1)).sum(), [kernel, scale])
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_what_needs_no_gradient_gets_none(kind: Any) -> None:
    shape = (3, 4) if kind == "linear" else (3, 4, 5, 5)
    inputs = torch.randn(shape, requires_grad=True)
    weight = torch.randn(6, *shape[1:])
    apply_with_feedback(Operation(kind, inputs, weight, torch.zeros(6)), torch.randn(6, *shape[1:])).sum().backward()
    assert inputs.grad is not None
    assert weight.grad is None


@pytest.mark.parametrize("kind", ["linear", "conv2d"])
def test_half_precision_goes_both_ways_as_in_backprop(kind: Any) -> None:
    shape = (3, 4) if kind == "linear" else (3, 4, 5, 5)
    inputs, weight = torch.randn(shape, requires_grad=True), torch.randn(6, *shape[1:], requires_grad=True)
    bias = torch.randn(6, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = Operation(kind, inputs, weight, bias).run()
        output = apply_with_feedback(Operation(kind, inputs, weight, bias), weight.detach())
    assert output.dtype == torch.bfloat16
    assert torch.equal(output, plain)
    found = torch.autograd.grad(output.float().sum(), [inputs, weight, bias], retain_graph=True)
    expected = torch.autograd.grad(plain.float().sum(), [inputs, weight, bias])
    assert [gradient.dtype for gradient in found] == [torch.float32] * 3
    torch.testing.assert_close(found, expected)


def test_maps_stay_channels_last() -> None:
    inputs = torch.randn(3, 4, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    feedback = torch.randn(6, 4, 3, 3).to(memory_format=torch.channels_last)
    output = apply_with_feedback(Operation("conv2d", inputs, weight), feedback)
    error = torch.randn(output.shape).to(memory_format=torch.channels_last)
    found = torch.autograd.grad(output, [inputs, weight], error)
    for tensor in (output, *found):
        assert tensor.is_contiguous(memory_format=torch.channels_last)
