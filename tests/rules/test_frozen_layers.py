"""Layers that their author froze: what serves the prediction or other layers learns all the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_sessions import as_model, train
from torch import Tensor, nn

from localrules import Learner
from localrules.core.layer_spec import LayerSpec
from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import build_session, toy_dataset

REGISTRY = Registry.load(allow=[])
CLASSES = 4
PREDICTORS = [
    ("cafo", {}),
    ("cafo", {"predictor": "ce"}),
    ("mono-forward", {}),
    ("local-ce", {"vote": True}),
    ("hsic-projected", {"vote": True}),
]
"""Rules whose own modules predict."""
SERVING = [
    ("sgr", "heads"),
    ("synthetic-gradients", "predictions"),
    ("difference-target-propagation", "inverses"),
    ("counter-current", "feedback"),
]
"""Rules with modules of a layer from which the layer below learns."""


class Frozen(nn.Module):
    """Two hidden layers and a readout; all that is named is frozen."""

    def __init__(self, frozen: tuple[str, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Sequential(nn.Linear(9, 16), nn.Tanh())
        self.second = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
        self.readout = nn.Linear(16, CLASSES)
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        return self.readout(self.second(self.first(images.flatten(1))))


def clusters() -> tuple[Tensor, Tensor]:
    """Images near one of four corners, and which."""
    torch.manual_seed(1)
    labels = torch.arange(64) % CLASSES
    return torch.randn(CLASSES, 1, 3, 3)[labels] + 0.1 * torch.randn(64, 1, 3, 3), labels


def learner(rule: str, options: dict[str, Any], *frozen: str) -> Learner:
    images, _ = clusters()
    return Learner(Frozen(frozen), rule, example=images[:2], num_classes=CLASSES, config=options)


def session(rule: str, options: dict[str, Any], *frozen: str) -> Session:
    """The same as a run."""
    spec = LayerSpec(layers=["net.first", "net.second"], readout="net.readout")
    model = as_model(lambda classes: Frozen(frozen), spec)  # type: ignore[arg-type]
    data = toy_dataset(shape=(1, 3, 3))
    return build_session(REGISTRY.resolve("rule", rule), model, data, rule_options=options)


@pytest.mark.parametrize(("rule", "options"), PREDICTORS, ids=str)
def test_a_rule_that_predicts_by_its_own_modules_learns_on_frozen_layers(rule: str, options: dict[str, Any]) -> None:
    """Random or pretrained layers that stand still under predictors that learn."""
    trained = learner(rule, options, "first", "second", "readout")
    images, labels = clusters()
    for _ in range(60):
        trained.step(images, labels)
    assert (trained.predict(images).argmax(1) == labels).float().mean() > 0.9


@pytest.mark.parametrize(("rule", "options"), PREDICTORS, ids=str)
def test_a_run_trains_them_too(rule: str, options: dict[str, Any]) -> None:
    own = session(rule, options, "first", "second")
    before = {name: each.clone() for name, each in own.rule.state_dict().items()}
    layers = {name: each.clone() for name, each in own.network.named_parameters() if "readout" not in name}
    train(own)
    moved = {name for name, each in own.rule.state_dict().items() if not torch.equal(each, before[name])}
    assert any("first" in name for name in moved)
    assert any("second" in name for name in moved)
    for name, each in own.network.named_parameters():
        if "readout" not in name:
            assert torch.equal(each, layers[name]), name


@pytest.mark.parametrize(("rule", "modules"), SERVING)
def test_what_other_layers_learn_from_learns_on_a_frozen_layer(rule: str, modules: str) -> None:
    frozen = "first" if rule == "sgr" else "second"
    trained = learner(rule, {}, frozen)
    before = {name: each.clone() for name, each in trained.rule.state_dict().items()}
    images, labels = clusters()
    for _ in range(3):
        trained.step(images, labels)
    own = [name for name in before if name.startswith(modules) and frozen in name]
    assert own
    for name in own:
        assert not torch.equal(trained.rule.state_dict()[name], before[name]), name


@pytest.mark.parametrize("rule", ["local-ce", "dgl", "hsic-projected"])
def test_heads_that_serve_a_frozen_layer_alone_stand_still(rule: str) -> None:
    trained = learner(rule, {}, "first")
    before = {name: each.clone() for name, each in trained.rule.state_dict().items()}
    images, labels = clusters()
    trained.step(images, labels)
    after = trained.rule.state_dict()
    moved = {name for name in before if not torch.equal(after[name], before[name])}
    assert any("second" in name for name in moved)
    assert not any("first" in name for name in moved)


@pytest.mark.parametrize("rule", ["oja", "softhebb"])
def test_a_hebbian_rule_refuses_a_layer_in_which_only_a_bias_is_left(rule: str) -> None:
    model = Frozen(())
    model.second[0].weight.requires_grad_(False)
    images, _ = clusters()
    with pytest.raises(UsageError, match="nothing that the rule trains is left in layer 'second") as caught:
        Learner(model, rule, example=images[:2], num_classes=CLASSES)
    assert "requires_grad_(False)" in caught.value.fix
