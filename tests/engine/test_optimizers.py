"""Each parameter is in one optimizer, and an optimizer writes to its own layer alone."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_sessions import RULES, dense, perceptron, train
from pydantic import ValidationError
from torch import nn

from localrules.auditing.ownership import owners, watch_writes
from localrules.config.schema import OptimizerConfig
from localrules.core.layer import Layer
from localrules.engine.optimizers import LayerOptimizers
from localrules.errors import LocalRulesError, UsageError


@pytest.mark.parametrize("rule", RULES)
def test_each_parameter_sits_in_exactly_one_optimizer(rule: str) -> None:
    session = dense(RULES[rule])
    held = owners(session)
    assert len(held) == len(list(session.network.parameters())) + len(list(session.rule.parameters()))
    assert all(len(layers) == 1 for layers in held.values())


def test_an_auxiliary_module_belongs_to_its_layer() -> None:
    held = owners(dense(RULES["local-ce"]))
    assert held["rule.objectives.blocks/0/convs/1#0.classifier.0.weight"] == ["blocks.0.convs.1"]
    assert held["network.blocks.0.convs.1.weight"] == ["blocks.0.convs.1"]


@pytest.mark.parametrize("step", ["layer", "pass"])
@pytest.mark.parametrize("rule", RULES)
def test_while_one_layer_steps_no_other_tensor_changes(rule: str, step: str) -> None:
    session = dense(RULES[rule], optimizer={"step_timing": step})
    with watch_writes(session) as trespasses:
        train(session, 0, 2)
    assert trespasses == []


def test_an_optimizer_that_writes_to_another_layer_is_seen() -> None:
    session = perceptron(RULES["local-ce"])
    one, other = (session.optimizers.by_layer[name] for name in ("layers.0", "layers.1"))
    one.param_groups[0]["params"].append(other.param_groups[0]["params"][0])
    assert max(map(len, owners(session).values())) == 2
    del one.param_groups[0]["params"][-1]
    stranger = session.network.readout.module.weight

    def write(*_: object) -> None:
        with torch.no_grad():
            stranger.add_(0.0)  # the same value once more, and still a write

    with watch_writes(session) as trespasses:
        one.register_step_pre_hook(write)
        one.step()
    assert [(found.stepping, found.tensor) for found in trespasses] == [("layers.0", "network.readout.weight")]


def test_layers_that_share_a_parameter_are_refused_by_name() -> None:
    shared = nn.Parameter(torch.zeros(2))
    with pytest.raises(LocalRulesError, match="'one' and 'two' share a parameter"):
        LayerOptimizers({"one": [shared], "two": [shared]}, OptimizerConfig())


def test_clipping_looks_at_one_layer_at_a_time() -> None:
    short, long = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizers = LayerOptimizers(
        {"short": [short], "long": [long]}, OptimizerConfig(name="sgd", lr=1.0, momentum=0.0, grad_clip_norm=1.0)
    )
    short.grad, long.grad = torch.tensor([0.3, 0.4]), torch.tensor([30.0, 40.0])
    optimizers.step("short")
    optimizers.step("long")
    torch.testing.assert_close(short.detach(), torch.tensor([-0.3, -0.4]))
    torch.testing.assert_close(long.detach(), torch.tensor([-0.6, -0.8]))


def test_sgd_steps_as_nesterov_does_where_it_is_told_to() -> None:
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizers = LayerOptimizers({"one": [weight]}, OptimizerConfig(name="sgd", lr=0.1, momentum=0.8, nesterov=True))
    place, velocity = torch.tensor([1.0, -2.0]), torch.zeros(2)
    for step in range(4):
        gradient = torch.tensor([0.5, 1.0]) + step
        weight.grad = gradient.clone()
        optimizers.step("one")
        velocity = 0.8 * velocity + gradient
        place = place - 0.1 * (gradient + 0.8 * velocity)
        torch.testing.assert_close(weight.detach(), place)
    with pytest.raises(ValidationError, match="momentum is 0"):
        OptimizerConfig(name="sgd", momentum=0, nesterov=True)


def test_gradients_are_freed_as_soon_as_their_layer_has_stepped() -> None:
    session = dense(RULES["hsic"])
    alive: list[int] = []

    def count(*_: object) -> None:
        alive.append(sum(parameter.grad is not None for parameter in session.network.parameters()))

    for optimizer in session.optimizers.by_layer.values():
        optimizer.register_step_pre_hook(count)
    train(session, 0, 1)
    most = max(len(list(layer.parameters())) for layer in session.network.layers)
    assert max(alive) <= most
    assert all(parameter.grad is None for parameter in session.network.parameters())


def test_a_layer_without_parameters_has_no_optimizer() -> None:
    layer = Layer("pool", nn.AvgPool2d(2))
    optimizers = LayerOptimizers({layer.name: layer.parameters()}, OptimizerConfig())
    optimizers.step("pool")
    assert optimizers.by_layer == {}


def test_a_scale_whose_layers_all_have_another_is_refused() -> None:
    with pytest.raises(UsageError, match="the scale of 'readout' changes nothing"):
        perceptron(RULES["local-ce"], optimizer={"lr_scale": {"*": 0.5, "readout": 0.1}})
