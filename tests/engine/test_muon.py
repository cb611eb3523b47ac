"""Muon: hidden weights take steps whose singular values are all alike; the rest is AdamW's."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_sessions import RULES, dense, perceptron, train
from torch import Tensor, nn

from localrules.auditing.ownership import watch_writes
from localrules.config.schema import OptimizerConfig
from localrules.core.network import Network
from localrules.engine.optimizers import LayerOptimizers, matrix_parameter_ids

MUON = OptimizerConfig(name="muon", lr=0.1)
ROUGH = 0.35
"""Five Newton-Schulz steps leave singular values between 0.68 and 1.13, and they are taken in half precision."""


def stepped(weight: Tensor, gradient: Tensor, config: OptimizerConfig = MUON, *, matrix: bool = True) -> Tensor:
    """By how much one step moves a weight."""
    parameter = nn.Parameter(weight.clone(memory_format=torch.preserve_format))
    optimizers = LayerOptimizers({"one": [parameter]}, config, frozenset({id(parameter)} if matrix else ()))
    parameter.grad = gradient.clone(memory_format=torch.preserve_format)
    optimizers.step("one")
    assert parameter.grad is None
    return parameter.detach() - weight


def polar(matrix: Tensor) -> Tensor:
    """The nearest matrix whose singular values are one, in float64: what Newton-Schulz approximates."""
    left, _, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    return left @ right


@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (8, 5, 3, 3), (6, 4, 7)])
def test_a_step_is_the_gradients_polar_factor_at_the_length_of_adams(shape: tuple[int, ...]) -> None:
    weight, gradient = torch.randn(shape), torch.randn(shape)
    moved = stepped(weight, gradient).flatten(1).double()
    rows, columns = moved.shape
    direction = moved / (-0.1 * 0.2 * max(rows, columns) ** 0.5)
    assert torch.linalg.svdvals(direction - polar(gradient.flatten(1))).max() < ROUGH
    before = gradient.flatten(1).double() / gradient.norm()
    assert torch.linalg.svdvals(before).max() < 1 - ROUGH


def test_a_kernel_that_lies_with_its_channels_last_takes_the_same_step() -> None:
    weight, gradient = torch.randn(8, 5, 3, 3), torch.randn(8, 5, 3, 3)
    expected = stepped(weight, gradient)
    last = torch.channels_last
    moved = stepped(weight.contiguous(memory_format=last), gradient.contiguous(memory_format=last))
    mixed = stepped(weight.contiguous(memory_format=last), gradient)
    assert moved.is_contiguous(memory_format=last)
    torch.testing.assert_close(moved, expected, atol=0.02 * float(expected.norm()), rtol=0)
    torch.testing.assert_close(mixed, moved, atol=0, rtol=0)


def test_everything_else_is_stepped_by_adamw() -> None:
    weight, gradient = torch.randn(6, 4), torch.randn(6, 4)
    decayed = OptimizerConfig(name="muon", lr=0.1, weight_decay=0.3)
    expected = stepped(weight, gradient, decayed.model_copy(update={"name": "adamw"}))
    assert torch.equal(stepped(weight, gradient, decayed, matrix=False), expected)
    assert not torch.allclose(stepped(weight, gradient, decayed), expected)


def test_matrices_are_hidden_layers_weights_and_neither_readouts_nor_auxiliary_ones() -> None:
    session = dense(RULES["local-ce"])
    network: Network = session.network
    found = matrix_parameter_ids(network, session.rule)
    named = {name for name, weight in network.model.named_parameters() if id(weight) in found}
    kernels = {name for name, weight in network.model.named_parameters() if weight.ndim == 4}
    assert named == {name for name in kernels if not name.startswith("readout.")}
    assert not found & {id(weight) for weight in session.rule.parameters()}


def test_its_steps_may_be_longer_than_those_of_adam() -> None:
    weight, gradient = torch.zeros(6, 4), torch.randn(6, 4)
    longer = MUON.model_copy(update={"muon_scale": 2.0})
    torch.testing.assert_close(stepped(weight, gradient, longer), 2 * stepped(weight, gradient))
    assert torch.equal(stepped(weight, gradient, longer, matrix=False), stepped(weight, gradient, matrix=False))


def test_momentum_is_muons_own_unless_one_is_given() -> None:
    def twice(config: OptimizerConfig) -> Tensor:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(6, 9))
        optimizers = LayerOptimizers({"one": [weight]}, config, frozenset({id(weight)}))
        for _ in range(2):
            weight.grad = torch.randn(6, 9)
            optimizers.step("one")
        return weight.detach()

    assert torch.equal(twice(MUON), twice(MUON.model_copy(update={"momentum": 0.95})))
    assert not torch.equal(twice(MUON), twice(MUON.model_copy(update={"momentum": 0.5})))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_rules_learn_by_it_and_no_layer_writes_to_another(rule: str) -> None:
    session = perceptron(RULES[rule], optimizer={"name": "muon", "lr": 0.01}, steps=30)
    before = session.predictor.scores(session.data.split("train")).loss
    with watch_writes(session) as trespasses:
        train(session, 0, 2)
    assert trespasses == []
    train(session, 2)
    assert session.predictor.scores(session.data.split("train")).loss < before


def test_a_learning_rate_of_a_layer_holds_for_its_matrices() -> None:
    session = perceptron(RULES["local-ce"], optimizer={"name": "muon", "lr_scale": {"layers.0": 0.0}}, steps=3)
    first, second = (session.network.hidden[index].module[0].weight.detach().clone() for index in (0, 1))
    train(session)
    assert torch.equal(first, session.network.hidden[0].module[0].weight)
    assert not torch.equal(second, session.network.hidden[1].module[0].weight)
