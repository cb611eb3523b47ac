"""Every rule trains every network that its requirements admit, and says why not where they do not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.exhaustive import REPRESENTATIVES, few
from helpers.tiny_sessions import train

from localrules.engine.resolve import _accepts
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import build_session, toy_dataset

pytestmark = pytest.mark.slow

REGISTRY = Registry.load(allow=[])
RULES = [item.entry.name for item in REGISTRY.entries("rule")]
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": (6, 5)},
    "lenet": {},
    "vgg8b": {"width": 1 / 32, "hidden": [6]},
    "resnet20": {"blocks": [1, 1], "width": 4},
    "resnet18": {"blocks": [1, 1], "width": 4},
    "wide_resnet": {"depth": 10, "widen": 1 / 4},
    "densenet_bc": {"depth": 10, "growth": 4},
    "dense_fpn": {"blocks": 2, "convolutions": 2, "growth": 4, "stem": 4, "lateral": 4},
    "vit_tiny": {"width": 8, "heads": 2, "depth": 2},
    "mlp_mixer": {"width": 8, "token_hidden": 4, "channel_hidden": 8, "depth": 2},
    "convnext_tiny": {"width": 4, "blocks": [1, 1]},
    "inception_v2": {"width": 1 / 16, "depth": 3},
}
"""One of each kind: the others are deeper or wider ones of these classes."""
DATA = toy_dataset(samples=16)
SEQUENTIAL = {"mlp", "lenet", "vgg8b", "vit_tiny", "mlp_mixer", "convnext_tiny"}
REFUSED = {
    "counter-current": set(NETWORKS) - SEQUENTIAL,
    "difference-target-propagation": set(NETWORKS) - SEQUENTIAL,
    "dual-propagation": set(NETWORKS) - {"mlp", "lenet", "vgg8b"},
    "equilibrium-propagation": set(NETWORKS) - {"mlp", "lenet", "vgg8b"},
    "greedy-infomax": {"mlp", "lenet", "vgg8b", "inception_v2"},  # maps of 1 x 1, the images being tiny
    "man": set(NETWORKS) - SEQUENTIAL,
}
"""The networks with which a rule does not go together, for some of those that need something of a network."""
TOO_SMALL = {("greedy-infomax", "inception_v2"), ("greedy-infomax", "resnet50")}
"""They fit, but for the size of these images."""
FROM_THE_TOP = {"synthetic-gradients"}
"""Rules whose errors come down by one layer a step: two steps change the readout and the layer below it."""


@pytest.mark.parametrize("name", few(RULES, {*REPRESENTATIVES, "greedy-infomax"}))
def test_a_rule_trains_every_network_that_it_admits(name: str) -> None:
    rule = REGISTRY.resolve("rule", name)
    refused: dict[str, UsageError] = {}
    for network, options in NETWORKS.items():
        try:
            assert_trained(name, network, options)
        except UsageError as error:
            refused[network] = error
    assert set(refused) == REFUSED.get(name, set(refused) if rule.info.requires.constrains_network else set())
    assert len(refused) < len(NETWORKS)
    for network, error in refused.items():
        assert_names_what_fits(error, is_of_network=(name, network) not in TOO_SMALL)


@pytest.mark.parametrize("network", ["mlp", "lenet"])
@pytest.mark.parametrize("name", RULES)
def test_the_smallest_batch_that_a_rule_admits_trains_every_layer(name: str, network: str) -> None:
    options = NETWORKS[network] | ({"norm": False} if network == "mlp" else {})
    try:
        assert_trained(name, network, options, REGISTRY.resolve("rule", name).info.requires.min_batch)
    except UsageError as error:
        assert_names_what_fits(error)


@pytest.mark.exhaustive  # they have 25 and 57 million weights
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("network", ["alexnet", "resnet50"])
@pytest.mark.parametrize("name", RULES)
def test_a_rule_trains_the_networks_of_torchvision_that_it_admits(name: str, network: str) -> None:
    pytest.importorskip("torchvision")
    try:
        assert_trained(name, network, {}, batch_size=max(2, REGISTRY.resolve("rule", name).info.requires.min_batch))
    except UsageError as error:
        assert REGISTRY.resolve("rule", name).info.requires.constrains_network
        assert_names_what_fits(error, is_of_network=(name, network) not in TOO_SMALL)


def assert_trained(name: str, network: str, options: dict[str, Any], batch_size: int = 8) -> None:
    """Take two steps, in which every layer learns.

    Raises:
        UsageError: The rule does not admit the network.
    """
    rule, model = REGISTRY.resolve("rule", name), REGISTRY.resolve("model", network)
    suits = {key: value for key, value in rule.info.model_defaults.items() if _accepts(model.Config, key, value)}
    session = build_session(rule, model, DATA, model_options=suits | options, steps=2, batch_size=batch_size)
    before = [[parameter.clone() for parameter in layer.parameters()] for layer in session.network.layers]
    train(session)
    learned = session.network.layers[-2:] if name in FROM_THE_TOP else session.network.layers
    for layer, was in zip(session.network.layers, before, strict=True):
        now = list(layer.parameters())
        assert all(bool(parameter.isfinite().all()) for parameter in now), f"{network}, {layer.name}"
        if session.rule.trains(layer) and layer in learned:
            assert not all(map(torch.equal, was, now)), f"{network}, {layer.name} did not change"


def assert_names_what_fits(error: UsageError, *, is_of_network: bool = True) -> None:
    """A refusal says why, and which networks fit."""
    assert "cannot train" in error.what
    if is_of_network:
        assert error.why.startswith("it needs ")
        assert "lists the models that fit" in error.fix
