"""Layers that share tensors, freeze a branch, or write to each other: learned from correctly, or named."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules import Learner
from localrules.errors import LocalRulesError
from localrules.registry.registry import Registry

REGISTRY = Registry.load(allow=[])
ALL = [item.entry.name for item in REGISTRY.entries("rule")]
SEQUENTIAL = [name for name in ALL if REGISTRY.resolve("rule", name).info.requires.sequential]
IMAGES = torch.randn(6, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(6) % 3
GLOBAL = {"backprop", "backprop-checkpointed", "fa", "sign-symmetry", "kolen-pollack", "weight-mirror"}
"""Rules that run the network as it is, as back-propagation does: in-place operations do them no harm."""


class Shared(nn.Module):
    """A residual sum whose branch starts at the same tensor object."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.last = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.second(hidden.contiguous()) + hidden))


class Twice(nn.Module):
    """Gives one tensor twice, and another one."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = torch.tanh(self.first(x))
        return hidden, hidden, torch.tanh(self.second(hidden))


class Joined(nn.Module):
    """Reads several tensors side by side."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 8)

    def forward(self, given: tuple[Tensor, ...]) -> Tensor:
        return torch.tanh(self.linear(torch.cat(given, 1)))


class HalfFrozen(nn.Module):
    """Two branches, the second of which is frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.learned, self.frozen = nn.Linear(6, 8), nn.Linear(6, 8).requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return functional.relu(self.learned(x)), functional.relu(self.frozen(x))


@pytest.mark.parametrize("rule", ["synthetic-gradients", "node-perturbation", "predictive-coding", "dfa", "local-ce"])
def test_an_output_that_is_one_tensor_with_another_is_learned_from(rule: str) -> None:
    model = Shared()
    before = model.first.weight.clone()
    learner = Learner(model, rule, example=IMAGES, num_classes=3)
    for _ in range(3):  # synthetic gradients come down by one layer a step
        learner.step(IMAGES, LABELS)
    assert not torch.equal(model.first.weight, before)


@pytest.mark.parametrize("mode", ["strict", "error", "incremental"])
def test_a_shared_tensor_has_one_value_in_every_mode_of_predictive_coding(mode: str) -> None:
    model = Shared()
    learner = Learner(model, "predictive-coding", example=IMAGES, num_classes=3, config={"mode": mode})
    report = learner.step(IMAGES, LABELS)
    assert all(bool(value.isfinite()) for value in report.objectives.values())


def test_fixed_prediction_is_back_propagation_where_a_tensor_is_shared() -> None:
    sgd = {"name": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0}
    model, plain = Shared().double(), Shared().double()
    images = IMAGES.double()
    functional.cross_entropy(plain(images), LABELS).backward()
    Learner(model, "predictive-coding", example=images, num_classes=3, optimizer=sgd).step(images, LABELS)
    for stepped, weight in zip(model.parameters(), plain.parameters(), strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(stepped, weight - weight.grad)


@pytest.mark.parametrize("rule", ["synthetic-gradients", "node-perturbation", "predictive-coding", "dfa", "sgr"])
def test_a_layer_that_gives_a_tensor_twice_learns(rule: str) -> None:
    model = nn.Sequential(Twice(), Joined(21), nn.Linear(8, 3))
    learner = Learner(model, rule, example=IMAGES, num_classes=3, layers=["0", "1", "2"])
    for _ in range(2):
        report = learner.step(IMAGES, LABELS)
    assert report.loss is not None
    assert report.loss.isfinite()


@pytest.mark.parametrize("rule", [name for name in ALL if name not in {*SEQUENTIAL, "man", "greedy-infomax"}])
def test_a_layer_with_a_frozen_branch_learns_in_the_other(rule: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(HalfFrozen(), Joined(16), nn.Linear(8, 3))
    frozen, learned = model[0].frozen.weight.clone(), model[0].learned.weight.clone()
    learner = Learner(model, rule, example=IMAGES, num_classes=3, layers=["0", "1", "2"])
    for _ in range(3):
        learner.step(IMAGES, LABELS)
    assert torch.equal(model[0].frozen.weight, frozen)
    assert torch.equal(model[0].learned.weight, learned) == (not learner.rule.trains(learner.network.layers[0]))


@pytest.mark.parametrize("rule", [name for name in ALL if name not in {*GLOBAL, "greedy-infomax"}])
def test_an_in_place_operation_that_only_training_has_is_refused_with_the_layer_s_name(rule: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5, inplace=True), nn.Linear(8, 8), nn.Linear(8, 3))
    learner = Learner(model, rule, example=IMAGES, num_classes=3, layers=["0", "2", "3"])
    with pytest.raises(LocalRulesError, match="the output of layer '0' was changed in place"):
        learner.step(IMAGES, LABELS)
