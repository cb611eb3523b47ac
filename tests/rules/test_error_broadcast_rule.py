"""Error broadcast: every layer gets the error through its own correlation with it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.one_layer import draws
from helpers.one_step import gradients_in_double
from helpers.tiny_sessions import dense
from torch import Tensor

from localrules.engine.session import Session
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_classics.mlp import MLP
from localrules_feedback.error_broadcast import RIDGE, ErrorBroadcast, entropy

NAMES = ("layers.0.0", "layers.1.0", "readout")


def small(**options: Any) -> Session:
    """Two layers of tanh units, without norms."""
    return build_session(
        ErrorBroadcast,
        MLP,
        toy_dataset(shape=(1, 3, 3)),
        rule_options=options,
        model_options={"hidden": (5, 4), "norm": False, "activation": "tanh"},
    )


def weights_of(session: Session) -> tuple[list[Tensor], list[Tensor]]:
    named = dict(session.network.model.named_parameters())
    return (
        [named[f"{name}.weight"].detach().double() for name in NAMES],
        [named[f"{name}.bias"].detach().double() for name in NAMES],
    )


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_against_the_formula_written_out(loss: str) -> None:
    """R = memory R + (1 - memory) mean(h e^T), delta = (R e) phi', in loops over the batch."""
    session = small(memory=0.75, gain=1.0, loss=loss)
    matrices, biases = weights_of(session)
    correlations = [session.rule.get_buffer(f"layers/{index}#0").double().clone() for index in range(2)]
    found, report = gradients_in_double(session)
    batch = session.batches.batch(0)
    samples = []
    for image, label in zip(batch.images.double().flatten(1), batch.labels, strict=True):
        first = torch.tanh(matrices[0] @ image + biases[0])
        second = torch.tanh(matrices[1] @ first + biases[1])
        logits = matrices[2] @ second + biases[2]
        error = torch.softmax(logits, 0) if loss == "cross-entropy" else logits
        error[label] -= 1
        samples.append((image, first, second, error))
    for index in range(2):
        mean = sum(torch.outer(sample[index + 1], sample[3]) for sample in samples) / len(samples)
        correlations[index] = 0.75 * correlations[index] + 0.25 * mean
        torch.testing.assert_close(session.rule.get_buffer(f"layers/{index}#0"), correlations[index])
        value = report.objectives[f"layers.{index}"].item()
        assert value == pytest.approx(float(correlations[index].square().sum()) / 2, rel=1e-6)
    expected = [torch.zeros_like(matrix) for matrix in matrices]
    for image, first, second, error in samples:
        signals = ((correlations[0] @ error) * (1 - first**2), (correlations[1] @ error) * (1 - second**2), error)
        for total, delta, before in zip(expected, signals, (image, first, second), strict=True):
            total += torch.outer(delta, before) / len(samples)
    for name, gradient in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], gradient, rtol=1e-6, atol=1e-9)


def test_it_is_the_gradient_of_the_squared_correlation_at_a_fixed_error() -> None:
    session = small(memory=0.75, gain=1.0)
    matrices, biases = weights_of(session)
    before = session.rule.get_buffer("layers/0#0").double().clone()
    found, report = gradients_in_double(session)
    batch = session.batches.batch(0)
    error = report.logits.softmax(1) - torch.nn.functional.one_hot(batch.labels, 4)
    weight = matrices[0].requires_grad_()
    output = torch.tanh(batch.images.double().flatten(1) @ weight.T + biases[0])
    objective = (0.75 * before + 0.25 * output.T @ error / len(error)).square().sum() / 2
    (gradient,) = torch.autograd.grad(objective, weight)
    torch.testing.assert_close(found["layers.0.0.weight"], gradient / 0.25, rtol=1e-6, atol=1e-9)


def test_with_the_readout_s_own_weights_the_last_hidden_layer_learns_by_back_propagation() -> None:
    session = small(memory=1.0)
    matrices, biases = weights_of(session)
    session.rule.get_buffer("layers/1#0").copy_(matrices[2].T)
    found, _ = gradients_in_double(session)
    batch = session.batches.batch(0)
    weight = matrices[1].requires_grad_()
    first = torch.tanh(batch.images.double().flatten(1) @ matrices[0].T + biases[0])
    logits = torch.tanh(first @ weight.T + biases[1]) @ matrices[2].T + biases[2]
    (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, batch.labels), weight)
    torch.testing.assert_close(found["layers.1.0.weight"], gradient, rtol=1e-5, atol=1e-8)


def entropy_gradient(features: Tensor) -> Tensor:
    """Of half the log-determinant of the covariance with a fixed ridge, per unit: each sample's ``C^-1 x / n``."""
    samples, units = features.shape
    centred = features - features.mean(0)
    covariance = sum(torch.outer(sample, sample) for sample in centred) / samples
    inverse = torch.linalg.inv(covariance + RIDGE * covariance.trace() / units * torch.eye(units).to(features))
    return torch.stack([inverse @ sample for sample in centred]) / (samples * units)


def test_power_and_entropy_are_added() -> None:
    session = small(memory=1.0, gain=0.0, power=0.5, level=0.3, entropy=0.25)
    matrices, biases = weights_of(session)
    found, _ = gradients_in_double(session)
    weight = matrices[0].requires_grad_()
    output = torch.tanh(session.batches.batch(0).images.double().flatten(1) @ weight.T + biases[0])
    power = sum((output[:, unit].square().mean() - 0.3) ** 2 for unit in range(5)) / 10
    surrogate = 0.5 * power - 0.25 * (entropy_gradient(output.detach()) * output).sum()
    (gradient,) = torch.autograd.grad(surrogate, weight)
    torch.testing.assert_close(found["layers.0.0.weight"], gradient, rtol=1e-6, atol=1e-9)


def test_entropy_is_the_determinant_of_the_units_covariance() -> None:
    features = draws(6, 9)
    centred = features - sum(features) / 6
    covariance = sum(torch.outer(sample, sample) for sample in centred) / 6
    ridge = RIDGE * float(covariance.trace()) / 9
    full = torch.logdet(covariance + ridge * torch.eye(9)) - 9 * math.log(ridge)
    assert entropy(features).item() == pytest.approx(float(full) / 18, rel=1e-6)


def test_every_output_of_every_hidden_layer_has_a_correlation() -> None:
    session = dense(ErrorBroadcast, granularity="block")
    sizes = [math.prod(shape) for layer in session.network.hidden for shape in layer.out_shapes]
    assert [tuple(buffer.shape) for buffer in session.rule.buffers()] == [(size, 4) for size in sizes]
