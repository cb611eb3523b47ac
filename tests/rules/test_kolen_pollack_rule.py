"""Kolen-Pollack: feedback weights change as the forward weights do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.digits import digits_session
from helpers.tiny_sessions import dense, perceptron, train
from test_fa_rule import gradients, lenet, plain
from torch import Tensor

from localrules.engine.session import Session
from localrules_backprop.backprop import Backprop
from localrules_feedback.fa import FeedbackAlignment
from localrules_feedback.kolen_pollack import KolenPollack


def pairs(session: Session) -> dict[str, tuple[Tensor, Tensor]]:
    """Forward and feedback weights by operation, of an mlp or a lenet."""
    found = {}
    feedback = dict(session.rule.named_parameters())
    images = session.batches.batch(0).images.to(next(session.network.parameters()).dtype)
    for operation in session.network.operations(images):
        if operation.key in feedback:
            found[operation.key] = (operation.weight, feedback[operation.key])
    return found


@pytest.mark.parametrize("network", [perceptron, lenet])
def test_forward_and_feedback_weights_get_the_gradient_of_feedback_alignment(network: Any) -> None:
    """That gradient is written out in the tests of feedback alignment."""
    aligned = network(FeedbackAlignment)
    session = network(KolenPollack)
    with torch.no_grad():
        for name, buffer in aligned.rule.named_buffers():
            session.rule.get_parameter(name).copy_(buffer)
    found, _ = gradients(session)
    expected, _ = gradients(aligned)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-10, atol=1e-12)
    for weight, feedback in pairs(session).values():
        assert feedback.grad is not None
        torch.testing.assert_close(feedback.grad, weight.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("network", [perceptron, lenet, dense, plain("residual")])
def test_with_transposed_weights_it_is_back_propagation(network: Any) -> None:
    session = network(KolenPollack)
    with torch.no_grad():
        for weight, feedback in pairs(session).values():
            feedback.copy_(weight)
    found, _ = gradients(session)
    expected, _ = gradients(network(Backprop))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)  # weights are copied in float32


def with_momentum(lr: float, decay: float, momentum: float) -> float:
    """The rest of a difference of 1 after six steps of SGD in which it has no gradient."""
    value, buffer = 1.0, 0.0
    for _ in range(6):
        buffer = momentum * buffer + decay * value
        value -= lr * buffer
    return value


@pytest.mark.parametrize("network", [perceptron, lenet])
@pytest.mark.parametrize(
    ("optimizer", "hidden", "readout"),
    [
        ({"name": "sgd", "lr": 0.1, "momentum": 0.0}, (1 - 0.1 * 0.2) ** 6, None),
        ({"name": "sgd", "lr": 0.1, "momentum": 0.9}, with_momentum(0.1, 0.2, 0.9), None),
        ({"name": "adamw", "lr": 0.01}, (1 - 0.01 * 0.2) ** 6, None),
        ({"name": "muon", "lr": 0.01, "muon_scale": 3.0}, (1 - 0.03 * 0.2) ** 6, (1 - 0.01 * 0.2) ** 6),
    ],
    ids=["sgd", "momentum", "adamw", "muon"],
)
def test_the_difference_decays_and_nothing_else_changes_it(
    network: Any, optimizer: dict[str, Any], hidden: float, readout: float | None
) -> None:
    session = network(KolenPollack, optimizer={**optimizer, "weight_decay": 0.2, "grad_clip_norm": None})
    before = {key: (weight - feedback).detach().clone() for key, (weight, feedback) in pairs(session).items()}
    train(session)
    for key, (weight, feedback) in pairs(session).items():
        factor = readout if readout is not None and "readout" in key else hidden
        torch.testing.assert_close((weight - feedback).detach(), before[key] * factor, rtol=1e-4, atol=1e-5)


PHASES = [
    {"name": "above", "train_layers": "readout", "fraction": 1.0},
    {"name": "below", "train_layers": "hidden", "fraction": 1.0},
    {"name": "together", "train_layers": "all", "fraction": 1.0},
]


@pytest.mark.parametrize("network", [perceptron, lenet])
def test_a_feedback_weight_learns_if_and_only_if_its_forward_weight_does(network: Any) -> None:
    optimizer = {"name": "sgd", "lr": 0.1, "momentum": 0.0, "weight_decay": 0.2, "grad_clip_norm": None}
    session = network(KolenPollack, optimizer=optimizer, phases=PHASES)
    rest = (1 - 0.1 * 0.2) ** 2  # of the difference, after the two steps of a phase
    expected = {key: (weight - feedback).detach().clone() for key, (weight, feedback) in pairs(session).items()}
    above = {key for key in expected if session.network.readout.name in key}
    assert above
    assert above < set(expected)
    for phase, learning in zip(session.phases, (above, set(expected) - above, set(expected)), strict=True):
        train(session, phase.start, phase.stop)
        for key, (weight, feedback) in pairs(session).items():
            expected[key] = expected[key] * (rest if key in learning else 1)
            torch.testing.assert_close((weight - feedback).detach(), expected[key], rtol=1e-4, atol=1e-5)


def test_the_feedback_weights_align() -> None:
    session = digits_session(KolenPollack, hidden=(64, 64), epochs=4, optimizer={"lr": 0.01, "weight_decay": 5.0})
    (*_, start) = pairs(session).values()
    assert torch.cosine_similarity(*(tensor.detach().flatten() for tensor in start), 0).abs() < 0.3
    train(session)
    for weight, feedback in pairs(session).values():
        assert torch.cosine_similarity(weight.detach().flatten(), feedback.detach().flatten(), 0) > 0.5
