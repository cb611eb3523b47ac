"""sgr: gradients that agree at the borders between layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.one_layer import draws
from helpers.one_step import first_batch, gradients_in_double
from helpers.tiny_sessions import dense, perceptron
from torch import Tensor

from localrules.engine.session import Session
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_classics.mlp import MLP
from localrules_supervised.local_ce import LocalCrossEntropy
from localrules_supervised.sgr import SGR

WEIGHT = 0.7


def set_heads(session: Session) -> Session:
    """Heads at random: at zero they would send nothing back."""
    with torch.no_grad():
        for number, parameter in enumerate(session.rule.parameters()):
            parameter.copy_(draws(*parameter.shape, seed=number + 5) * 0.5)
    return session


def small(weight: float = WEIGHT) -> Session:
    """Two layers of tanh units, without norms."""
    return set_heads(
        build_session(
            SGR,
            MLP,
            toy_dataset(shape=(1, 3, 3)),
            rule_options={"weight": weight},
            model_options={"hidden": (5, 4), "norm": False, "activation": "tanh"},
        )
    )


class ByHand:
    """The second layer's objective as a function of its weights, sample by sample, without autograd."""

    def __init__(self, session: Session) -> None:
        named = {name: tensor.detach().double() for name, tensor in session.network.model.named_parameters()}
        heads = {name: tensor.detach().double() for name, tensor in session.rule.named_parameters()}
        batch = first_batch(session)
        self.labels = batch.labels
        weight, bias = named["layers.0.0.weight"], named["layers.0.0.bias"]
        self.first = [torch.tanh(weight @ image + bias) for image in batch.images.flatten(1)]
        self.bias = named["layers.1.0.bias"]
        self.weight = named["layers.1.0.weight"]
        self.below, self.below_bias = (heads[f"heads.layers/0#0.0.{name}"] for name in ("weight", "bias"))
        self.head, self.head_bias = (heads[f"heads.layers/1#0.0.{name}"] for name in ("weight", "bias"))

    def error(self, logits: Tensor, label: int) -> Tensor:
        error = torch.softmax(logits, 0)
        error[label] -= 1
        return error

    def terms(self, weight: Tensor) -> tuple[float, float]:
        """The mean cross-entropy and the mean squared distance."""
        loss = distance = 0.0
        for first, label in zip(self.first, self.labels.tolist(), strict=True):
            known = self.below.T @ self.error(self.below @ first + self.below_bias, label)
            second = torch.tanh(weight @ first + self.bias)
            logits = self.head @ second + self.head_bias
            loss += float(torch.logsumexp(logits, 0) - logits[label]) / len(self.first)
            wanted = weight.T @ ((self.head.T @ self.error(logits, label)) * (1 - second**2))
            distance += float(((wanted - known) ** 2).sum()) / len(self.first)
        return loss, distance

    def objective(self, weight: Tensor) -> float:
        loss, distance = self.terms(weight)
        return loss + WEIGHT * distance


def test_against_the_formula_written_out() -> None:
    session = small()
    reference = ByHand(session)
    found, report = gradients_in_double(session)
    loss, distance = reference.terms(reference.weight)
    assert report.metrics["reconciliation/layers.1"].item() == pytest.approx(distance, rel=1e-6)
    assert report.objectives["layers.1"].item() == pytest.approx(loss + WEIGHT * distance, rel=1e-6)
    assert "reconciliation/layers.0" not in report.metrics
    for place in ((0, 0), (1, 3), (3, 4)):  # central differences
        step = torch.zeros_like(reference.weight)
        step[place] = 1e-5
        slope = (reference.objective(reference.weight + step) - reference.objective(reference.weight - step)) / 2e-5
        assert found["layers.1.0.weight"][place].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("network", [perceptron, dense])
def test_without_the_term_it_is_local_cross_entropy(network: Any) -> None:
    found, _ = gradients_in_double(set_heads(network(SGR, rule_options={"weight": 0.0})))
    expected, _ = gradients_in_double(set_heads(network(LocalCrossEntropy)))
    for name, gradient in expected.items():
        if not name.startswith("rule."):
            torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)


def test_every_layer_that_reads_another_one_has_a_term_in_a_dense_network() -> None:
    session = set_heads(dense(SGR))
    _, report = gradients_in_double(session)
    reading = {f"reconciliation/{layer.name}" for layer in session.network.hidden if layer.input_layers}
    assert len(reading) > 3
    assert report.metrics.keys() == reading
