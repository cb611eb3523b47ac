"""Weight mirror: feedback weights learn the forward weights from noise."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from helpers.digits import digits_session
from helpers.one_layer import draws
from helpers.tiny_sessions import perceptron, train
from test_fa_rule import gradients, lenet
from torch import Tensor

from localrules import Operation
from localrules_backprop.backprop import Backprop
from localrules_feedback.weight_mirror import WeightMirror

CONVOLUTIONS = {
    "padded": {"padding": 1},
    "strided": {"stride": 2},
    "grouped and dilated": {"groups": 2, "dilation": 2, "padding": 2},
}


def mirror(samples: int) -> WeightMirror:
    return WeightMirror(WeightMirror.Config(samples=samples))


def convolution(options: dict[str, Any], seed: int = 0) -> Operation:
    weight = draws(4, 4 // options.get("groups", 1), 3, 3, seed=seed).float()
    return Operation("conv2d", torch.zeros(1, 4, 7, 7), weight, torch.ones(4), options)


def correlation_by_hand(noise: Tensor, operation: Operation) -> Tensor:
    """``y x^T`` tap by tap: means over samples and over the positions where the tap meets the feature map."""
    options = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **operation.options}
    weight, x = operation.weight.double(), noise.double()
    y = torch.nn.functional.conv2d(x, weight, None, **options)
    found = torch.zeros_like(weight)
    outputs, inputs, height, width = weight.shape
    for o, i, a, b in product(range(outputs), range(inputs), range(height), range(width)):
        source = o // (outputs // options["groups"]) * inputs + i
        total, met = 0.0, 0
        for p, q in product(range(y.shape[2]), range(y.shape[3])):
            row = p * options["stride"] + a * options["dilation"] - options["padding"]
            column = q * options["stride"] + b * options["dilation"] - options["padding"]
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                met += len(x)
                total += float((y[:, o, p, q] * x[:, source, row, column]).sum())
        found[o, i, a, b] = total / met
    return found


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_the_correlation_of_both_ends_of_a_convolution(kind: str) -> None:
    operation = convolution(CONVOLUTIONS[kind])
    torch.manual_seed(3)
    found = mirror(128).estimate(operation)
    torch.manual_seed(3)
    samples = -(-128 // 49)
    expected = correlation_by_hand(torch.randn(samples, 4, 7, 7), operation)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", *CONVOLUTIONS])
def test_the_correlation_is_the_weights_on_average(kind: str) -> None:
    if kind == "linear":
        operation = Operation("linear", torch.zeros(1, 5), draws(4, 5).float(), torch.ones(4))
    else:
        operation = convolution(CONVOLUTIONS[kind])
    torch.manual_seed(0)
    found = mirror(200_000).estimate(operation)
    torch.testing.assert_close(found, operation.weight, rtol=0, atol=0.12)
    assert torch.cosine_similarity(found.flatten(), operation.weight.flatten(), 0) > 0.999


def test_a_step_moves_the_feedback_weights_by_the_rate_before_they_are_used() -> None:
    session = perceptron(WeightMirror, rule_options={"rate": 0.25})
    before = {name: buffer.clone().double() for name, buffer in session.rule.named_buffers()}
    estimates: dict[str, Tensor] = {}
    inner = session.rule.estimate

    def watch(operation: Operation) -> Tensor:
        estimates[operation.key] = inner(operation)
        return estimates[operation.key]

    session.rule.estimate = watch  # type: ignore[method-assign]
    gradients(session)
    assert estimates.keys() == before.keys()
    for name, buffer in session.rule.named_buffers():
        torch.testing.assert_close(buffer, 0.75 * before[name] + 0.25 * estimates[name])


@pytest.mark.parametrize("network", [perceptron, lenet])
def test_with_the_forward_weights_it_is_back_propagation(network: Any) -> None:
    session = network(WeightMirror, rule_options={"rate": 1e-12})
    with torch.no_grad():
        for operation in session.network.operations(session.batches.batch(0).images):
            if operation.input.requires_grad:
                session.rule.get_buffer(operation.key).copy_(operation.weight)
    found, _ = gradients(session)
    expected, _ = gradients(network(Backprop))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)


def test_the_feedback_weights_follow_the_forward_ones() -> None:
    session = digits_session(WeightMirror, hidden=(64, 64), epochs=4)
    train(session)
    for operation in session.network.operations(session.batches.batch(0).images):
        if operation.input.requires_grad:
            feedback = session.rule.get_buffer(operation.key)
            assert torch.cosine_similarity(operation.weight.detach().flatten(), feedback.flatten(), 0) > 0.85
