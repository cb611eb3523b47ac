"""Synthetic gradients: layers learn from predictions, and predictions from what comes down."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.one_layer import draws
from helpers.one_step import by_autograd, gradients_in_double
from helpers.tiny_sessions import dense, perceptron, read_twice
from test_fa_rule import lenet
from torch import Tensor
from torch.utils import _pytree as pytree

from localrules import Batch, Layer
from localrules.core.interception import Forward, intercept_layers, tensor_leaves
from localrules.core.isolated_forward import LayerTrace
from localrules.engine.session import Session
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_classics.mlp import MLP
from localrules_feedback.synthetic_gradients import GradientPrediction, SyntheticGradients

NAMES = ("layers.0.0", "layers.1.0", "readout")


def small(**options: Any) -> Session:
    """Two layers of tanh units, without norms; predictions at random."""
    session = build_session(
        SyntheticGradients,
        MLP,
        toy_dataset(shape=(1, 3, 3)),
        rule_options=options,
        model_options={"hidden": (5, 4), "norm": False, "activation": "tanh"},
    )
    with torch.no_grad():
        for number, parameter in enumerate(session.rule.parameters()):
            parameter.copy_(draws(*parameter.shape, seed=number + 5) * 0.5)
    return session


@pytest.mark.parametrize("labels", [True, False])
def test_against_the_formula_written_out(labels: bool) -> None:
    session = small(labels=labels)
    named = {name: tensor.detach().double() for name, tensor in session.network.model.named_parameters()}
    matrices = [named[f"{name}.weight"] for name in NAMES]
    biases = [named[f"{name}.bias"] for name in NAMES]
    maps = [
        [parameter.detach().double() for parameter in session.rule.predictions[f"layers/{index}#0"].parameters()]
        for index in range(2)
    ]
    found, report = gradients_in_double(session)
    batch = session.batches.batch(0)
    samples = len(batch.labels)
    expected = [torch.zeros_like(matrix) for matrix in matrices]
    squares, powers = [0.0, 0.0], [0.0, 0.0]
    for image, label in zip(batch.images.double().flatten(1), batch.labels, strict=True):
        first = torch.tanh(matrices[0] @ image + biases[0])
        second = torch.tanh(matrices[1] @ first + biases[1])
        error = torch.softmax(matrices[2] @ second + biases[2], 0)
        error[label] -= 1
        one_hot = torch.eye(4, dtype=torch.float64)[label]
        predicted = [
            weight @ (torch.cat([output / len(output), one_hot]) if labels else output / len(output)) + bias
            for output, (weight, bias) in zip((first, second), maps, strict=True)
        ]
        targets = [matrices[1].T @ (predicted[1] * (1 - second**2)), matrices[2].T @ error]
        for index in range(2):
            squares[index] += float((predicted[index] - targets[index]).square().sum())
            powers[index] += float(targets[index].square().sum())
        signals = (predicted[0] * (1 - first**2), predicted[1] * (1 - second**2), error)
        for total, delta, before in zip(expected, signals, (image, first, second), strict=True):
            total += torch.outer(delta, before) / samples
    for name, gradient in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], gradient, rtol=1e-6, atol=1e-9)
    for index in range(2):
        assert report.objectives[f"layers.{index}"].item() == pytest.approx(squares[index] / powers[index], rel=1e-6)


def dense_blocks(rule: type) -> Session:
    return dense(rule, granularity="block")


@pytest.mark.parametrize("network", [perceptron, lenet, dense, dense_blocks, read_twice])
def test_with_true_predictions_it_is_back_propagation_and_the_predictions_are_right(network: Any) -> None:
    session = network(SyntheticGradients)
    true = true_gradients(network(SyntheticGradients))

    def predict(trace: LayerTrace, batch: Batch) -> list[Tensor]:
        return [each.clone().requires_grad_() for each in true[trace.layer.name]]

    session.rule._predict = predict  # type: ignore[method-assign]
    found, report = gradients_in_double(session)
    expected = by_autograd(network(SyntheticGradients))
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9)
    for name, error in report.objectives.items():
        assert error.item() < 1e-12, name


def true_gradients(session: Session) -> dict[str, list[Tensor]]:
    """Of each sample's cross-entropy, at what the readers of each layer were given."""
    given: dict[str, list[Tensor]] = {}

    def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        copies = pytree.tree_map_only(Tensor, torch.clone, forward(*args, **kwargs))
        given[layer.name] = tensor_leaves(copies)
        return copies

    by_autograd(session)  # puts the network into float64
    batch = session.batches.batch(0)
    with intercept_layers(session.network.hidden, visit):
        logits = session.network(batch.images.double())
    loss = torch.nn.functional.cross_entropy(logits, batch.labels, reduction="sum")
    found = iter(torch.autograd.grad(loss, [copy for each in given.values() for copy in each]))
    return {name: [next(found) for _ in each] for name, each in given.items()}


@pytest.mark.parametrize("shape", [(6,), (3, 4, 5), (2, 3)])
@pytest.mark.parametrize("hidden", [0, 7])
def test_predictions_start_at_zero_and_fit_any_output(shape: tuple[int, ...], hidden: int) -> None:
    prediction = GradientPrediction(shape, 4, hidden)
    found = prediction(torch.randn(5, *shape), torch.tensor([0, 1, 2, 3, 0]))
    assert found.shape == (5, *shape)
    assert torch.count_nonzero(found) == 0
