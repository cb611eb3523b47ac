"""Rules mixed by layer: each hidden layer learns by the first rule whose pattern fits."""

from __future__ import annotations

import pytest
import torch
from helpers.tiny_sessions import train
from torch import Tensor

from localrules.config.mixture import mixture_parts
from localrules.config.settings import Settings
from localrules.core.base import RuleConfig
from localrules.core.objective import InputTransform, Objective
from localrules.core.view import Batch, LayerView
from localrules.engine.layer_summary import layer_table
from localrules.engine.layerwise import LayerwiseRule, ObjectiveSpec
from localrules.engine.resolve import resolve_run
from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import toy_dataset

MODEL = {"name": "dense_fpn", "blocks": 2, "convolutions": 2, "growth": 4, "stem": 8, "lateral": 8}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def session(registry: Registry, rule: dict[str, object]) -> Session:
    tree: dict[str, object] = {
        "rule": rule,
        "model": MODEL,
        "data": {"name": "faces"},
        "steps": 4,
        "batch_size": 16,
        "optimizer": {"lr": 0.003},
    }
    return Session.build(resolve_run(tree, registry), toy_dataset())


def test_a_word_on_the_command_line_names_several() -> None:
    spelt = Settings.from_tree({"rule": {"name": "blocks.0.*=local-ce, *=hsic"}, "steps": 3}).tree
    assert spelt == {
        "rule": {
            "name": "mixed",
            "layers": [{"layers": "blocks.0.*", "name": "local-ce"}, {"layers": "*", "name": "hsic"}],
        },
        "steps": 3,
    }
    assert Settings.from_tree({"rule": "hsic"}).tree == {"rule": {"name": "hsic"}}


def test_each_layer_has_the_first_rule_that_fits_and_the_last_one_where_none_does(registry: Registry) -> None:
    mixed = session(registry, {"name": "blocks.0.*=local-ce,blocks.*=hsic"})
    rules = {row["name"]: row["rule"] for row in layer_table(mixed)}
    assert rules["blocks.0.convs.1"] == "local-ce"
    assert rules["blocks.1.convs.0"] == rules["stem"] == "hsic"
    assert rules["readout"] == "cross-entropy"


def test_the_last_rules_own_defaults_are_the_runs_and_all_rules_are_the_networks(registry: Registry) -> None:
    tree = {"model": {"name": "mlp"}, "data": {"name": "faces"}}
    for name, optimizer in (("*.0=softhebb,*=hsic", ("adam", 0.005)), ("*.0=hsic,*=softhebb", ("sgd", 0.05))):
        found = resolve_run({**tree, "rule": {"name": name}}, registry).config.optimizer
        assert (found.name, found.lr) == optimizer
    own = resolve_run({**tree, "rule": {"name": "*.0=forward-forward,*=hsic"}}, registry).config
    assert own.model.options["norm"] is False  # forward-forward's, though it is not the last
    assert own.optimizer.lr == 0.005


def test_a_layer_learns_as_it_does_under_its_rule_alone(registry: Registry) -> None:
    stems = []
    for rule in ("stem=hsic,*=local-ce", "hsic", "local-ce"):
        built = session(registry, {"name": rule})
        train(built, 0, 1)
        stems.append(list(built.network.layers[0].parameters()))
    for mixed, alone, other in zip(*stems, strict=True):
        assert torch.equal(mixed, alone)
        assert not torch.equal(mixed, other)


def test_options_and_presets_are_spelt_out_for_each_part(registry: Registry) -> None:
    layers = [{"layers": "stem", "name": "hsic", "preset": "paper"}, {"layers": "*", "name": "local-ce", "grid": 2}]
    built = session(registry, {"name": "mixed", "layers": layers})
    (_, first), (_, second) = built.config.rule.parts
    assert first.options["normalization"] == "none"
    assert first.options["beta"] == 100.0
    assert second.options == {"grid": 2, "hidden": 0, "inputs": False, "channels": 0, "vote": False}
    assert isinstance(built.rule, LayerwiseRule)
    assert {type(objective).__name__ for objective in built.rule.objectives.values()} == {"HSIC", "LocalCrossEntropy"}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("=hsic", "does not say which layers"),
        ("stem=hsic,convs", "does not say which layers"),
        ("nothing.*=hsic,*=local-ce", "no layer is left for 'nothing.*'"),
        ("*=hsic,stem=local-ce", "no layer is left for 'stem'"),
        ("stem=hsic,*=backprop", "cannot be mixed"),
        ("stem=hsik,*=hsic", "hsik"),
    ],
)
def test_a_mixture_that_makes_no_sense_is_refused(registry: Registry, rule: str, said: str) -> None:
    with pytest.raises(UsageError, match=said.replace("*", r"\*")):
        session(registry, {"name": rule})


@pytest.mark.parametrize("layers", [[], "hsic", [{"layers": "*"}], ["hsic"]])
def test_a_mixture_needs_its_parts(layers: object) -> None:
    with pytest.raises(UsageError, match="needs its parts"):
        mixture_parts({"name": "mixed", "layers": layers})


def test_an_objective_that_feeds_the_network_in_its_own_way_shares_it_with_none() -> None:
    class Doubled(InputTransform, Objective):
        class Config(RuleConfig):
            weight: float = 1.0

        def make_inputs(self, batch: Batch) -> Tensor:
            return batch.images.repeat(2, 1, 1, 1)

        def forward(self, view: LayerView) -> Tensor:
            return view.output.mean()

    specs = {"a": ObjectiveSpec(Doubled, Doubled.Config()), "b": ObjectiveSpec(Doubled, Doubled.Config(weight=2.0))}
    with pytest.raises(UsageError, match="cannot share a network"):
        LayerwiseRule(specs)
