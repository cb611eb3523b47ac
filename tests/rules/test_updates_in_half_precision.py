"""In half precision every rule moves weights in the direction of float32, once the network fits its batch as well."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from helpers.exhaustive import REPRESENTATIVES, few
from torch import Tensor, nn
from torch.nn import functional

from localrules import Learner
from localrules.registry.registry import Registry

REGISTRY = Registry.load(allow=[])
WITHOUT_GRADIENTS = "cafo"  # it solves in float64
FOR_MAPS = "greedy-infomax"
RULES = [item.entry.name for item in REGISTRY.entries("rule") if item.entry.name not in (WITHOUT_GRADIENTS, FOR_MAPS)]
CLASSES = 5
WITHOUT_NORM = ("dual-propagation", "equilibrium-propagation")
MODES = ("strict", "error", "incremental")
CASES = [(name, {}) for name in RULES] + [("predictive-coding", {"mode": mode}) for mode in MODES]
SUBTRACTING = {"pepita", "node-perturbation", "sigprop", *WITHOUT_NORM}
"""Rules that would be wrong if they ran in half precision, beside the modes of predictive coding."""
SGD = {"name": "sgd", "lr": 0.03, "momentum": 0.0, "weight_decay": 0.0}


def batch() -> tuple[Tensor, Tensor]:
    """Noisy copies of a pattern for each class."""
    torch.manual_seed(0)
    patterns, labels = torch.randn(CLASSES, 1, 16, 16), torch.randint(0, CLASSES, (64,))
    images = patterns[labels] + torch.randn(64, 1, 16, 16)
    return images / images.std(), labels


def network(norm: bool) -> nn.Sequential:
    """Three hidden layers."""
    torch.manual_seed(1)
    layers: list[nn.Module] = []
    for inputs, outputs in ((256, 64), (64, 64), (64, 64)):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if norm else []), nn.ReLU()]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(64, CLASSES))


def bfloat16() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", torch.bfloat16)


def update(rule: str, options: dict[str, Any], state: dict[str, Any], precision: Any) -> dict[str, Tensor]:
    """The change of each weight matrix by one step from a state."""
    images, labels = batch()
    learner = Learner(
        network(rule not in WITHOUT_NORM),
        rule,
        example=images[:2],
        num_classes=CLASSES,
        config=options,
        optimizer=SGD,
        precision=precision,
    )
    learner.load_state_dict(state)
    weights = {name: each for name, each in learner.network.model.named_parameters() if each.dim() > 1}
    before = {name: each.detach().clone() for name, each in weights.items()}
    torch.manual_seed(3)
    learner.step(images, labels)
    return {name: each.detach() - before[name] for name, each in weights.items()}


@cache
def fitted_network(norm: bool) -> nn.Sequential:
    """A network after steps of back-propagation: its error is small."""
    images, labels = batch()
    model = network(norm)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(30):
        optimizer.zero_grad()
        functional.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model


def fitted(rule: str, options: dict[str, Any]) -> dict[str, Any]:
    """The state after a few steps of the rule on a network whose error is small."""
    images, labels = batch()
    model = deepcopy(fitted_network(rule not in WITHOUT_NORM))
    learner = Learner(model, rule, example=images[:2], num_classes=CLASSES, config=options, optimizer=SGD)
    for _ in range(3):  # heads that start at zero have no direction yet
        learner.step(images, labels)
    return learner.state_dict()


@pytest.mark.parametrize(
    "case", few(CASES, REPRESENTATIVES | SUBTRACTING | set(MODES), lambda case: case[1].get("mode", case[0]))
)
def test_half_precision_keeps_the_direction_of_an_update(case: tuple[str, dict[str, Any]]) -> None:
    rule, options = case
    state = fitted(rule, options)
    exact, half = (update(rule, options, state, precision) for precision in (nullcontext, bfloat16))
    moved = [name for name in exact if exact[name].abs().max() > 0]
    assert moved
    for name in moved:
        cosine = functional.cosine_similarity(exact[name].flatten(), half[name].flatten(), dim=0)
        ratio = half[name].norm() / exact[name].norm()
        assert cosine > 0.95, f"{name}: cosine {cosine:.3f}"
        assert 0.9 < ratio < 1.1, f"{name}: length {ratio:.2f}"
