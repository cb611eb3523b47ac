"""A rule computes in the precision of the network: float64 is kept, and heads go with weights in half precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules import Learner
from localrules.registry.registry import Registry

REGISTRY = Registry.load(allow=[])
FOR_MAPS = "greedy-infomax"
RULES = [item.entry.name for item in REGISTRY.entries("rule") if item.entry.name != FOR_MAPS]
LABELS = torch.arange(6) % 3
WITHOUT_NORM = ("dual-propagation", "equilibrium-propagation")


def inputs(rule: str) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(6, 1, 8, 8) if rule == FOR_MAPS else torch.randn(6, 6)


def network(rule: str) -> nn.Sequential:
    """Two hidden layers, with a batch norm where the rule admits one."""
    torch.manual_seed(0)
    if rule == FOR_MAPS:
        maps = (nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
        return nn.Sequential(*maps, nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    norm = [] if rule in WITHOUT_NORM else [nn.BatchNorm1d(8)]
    return nn.Sequential(nn.Linear(6, 8), *norm, nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))


@pytest.mark.parametrize("rule", [*RULES, FOR_MAPS])
def test_a_float64_network_is_trained_in_float64(rule: str) -> None:
    images = inputs(rule).double()
    learner = Learner(network(rule).double(), rule, example=images, num_classes=3)
    report = learner.step(images, LABELS)
    computed = [report.loss, *report.objectives.values()]
    assert {each.dtype for each in computed if isinstance(each, Tensor)} <= {torch.float64}
    assert {weight.dtype for weight in learner.rule.parameters()} <= {torch.float64}
    assert learner.predict(images).isfinite().all()


@pytest.mark.parametrize("rule", [*RULES, FOR_MAPS])
def test_a_bfloat16_network_is_trained(rule: str) -> None:
    images = inputs(rule).bfloat16()
    learner = Learner(network(rule).bfloat16(), rule, example=images, num_classes=3, lr=0.1)
    learner.step(images, LABELS)
    assert learner.predict(images).isfinite().all()
    assert {weight.dtype for weight in learner.network.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("mode", ["strict", "error", "incremental"])
def test_values_that_move_suit_a_bfloat16_network_in_every_mode_of_predictive_coding(mode: str) -> None:
    images = inputs("predictive-coding").bfloat16()
    model = network("predictive-coding").bfloat16()
    learner = Learner(model, "predictive-coding", example=images, num_classes=3, config={"mode": mode})
    report = learner.step(images, LABELS)
    assert report.loss is not None
    assert report.loss.isfinite()


@pytest.mark.parametrize("rule", ["backprop", "backprop-checkpointed"])
def test_the_gradients_of_back_propagation_are_autograd_s_to_the_last_digit(rule: str) -> None:
    images = inputs(rule).double()
    model, plain = network(rule).double(), network(rule).double()
    functional.cross_entropy(plain(images), LABELS).backward()
    sgd = {"name": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    Learner(model, rule, example=images, num_classes=3, optimizer=sgd).step(images, LABELS)
    for stepped, weight in zip(model.parameters(), plain.parameters(), strict=True):
        assert weight.grad is not None
        assert torch.equal(stepped, weight - weight.grad)
