"""Whatever code of a rule does wrong in a Learner is one error that names class, file and line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from helpers import faulty_plugin
from torch import nn

from localrules import Learner
from localrules.errors import LocalRulesError, UsageError
from localrules.registry.registry import Registry

REGISTRY = Registry.load(allow=[])
IMAGES, LABELS = torch.randn(8, 6), torch.arange(8) % 3


def module() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.slow
@pytest.mark.parametrize("rule", faulty_plugin.RULES)
def test_a_rule(rule: str) -> None:
    if rule.startswith(("hidden-tensor", "closes-")):
        pytest.skip("a Learner stores no options, and owns no stream")
    cls = faulty_plugin.RULES[rule]
    before = sys.stdout, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()
    with pytest.raises(LocalRulesError) as failed:
        Learner(module(), cls, example=IMAGES, num_classes=3).step(IMAGES, LABELS.clone())
    assert (sys.stdout, torch.get_default_dtype(), torch.get_default_device(), torch.is_grad_enabled()) == before
    assert Path(faulty_plugin.__file__).name in failed.value.where
    assert "line" in failed.value.where
    assert cls.__name__ in failed.value.what + failed.value.where
    assert failed.value.fix


SMALLEST = {
    item.entry.name: REGISTRY.resolve("rule", item.entry.name).info.requires for item in REGISTRY.entries("rule")
}


@pytest.mark.parametrize(
    "rule", [name for name, needs in SMALLEST.items() if needs.min_batch > 1 and not needs.spatial_outputs]
)
def test_a_batch_that_is_too_small_for_the_rule_is_refused(rule: str) -> None:
    network = module()
    learner = Learner(network, rule, example=IMAGES, num_classes=3)
    before = [parameter.clone() for parameter in network.parameters()]
    few = SMALLEST[rule].min_batch - 1
    with pytest.raises(UsageError, match=f"needs batches of at least {few + 1}") as refused:
        learner.step(IMAGES[:few], LABELS[:few])
    assert "Learner.step" in refused.value.where
    assert all(map(torch.equal, before, network.parameters()))


@pytest.mark.parametrize("rule", ["local-ce", "sgr"])
def test_a_batch_norm_in_a_head_needs_two_samples(rule: str) -> None:
    learner = Learner(module(), rule, example=IMAGES, num_classes=3, config={"hidden": 4})
    with pytest.raises(UsageError, match="needs a batch of at least 2 samples"):
        learner.step(IMAGES[:1], LABELS[:1])


def test_the_exception_is_the_cause() -> None:
    learner = Learner(module(), faulty_plugin.RULES["value-error"], example=IMAGES, num_classes=3)
    with pytest.raises(LocalRulesError) as failed:
        learner.step(IMAGES, LABELS)
    assert isinstance(failed.value.__cause__, ValueError)
    assert "bad value" in failed.value.why


def test_gradients_left_by_the_users_loop_are_not_blamed_on_the_rule() -> None:
    mine = module()
    mine(IMAGES).sum().backward()
    Learner(mine, "local-ce", example=IMAGES, num_classes=3).step(IMAGES, LABELS)


def test_a_readout_of_another_number_of_classes_is_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5))
    with pytest.raises(UsageError, match="5 outputs for 3 classes"):
        Learner(model, "local-ce", example=torch.randn(4, 6), num_classes=3)


def test_a_network_that_is_frozen_is_refused() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)).requires_grad_(False)
    with pytest.raises(UsageError, match="nothing to train"):
        Learner(model, "backprop", example=torch.randn(4, 6), num_classes=3)


@pytest.mark.parametrize("layers", [None, ["0", "2"]])
def test_an_example_that_the_model_cannot_take_is_named_beside_the_models_own_error(layers: list[str] | None) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied") as raised:
        Learner(model, "hsic", example=torch.randn(2, 9), num_classes=4, layers=layers)
    (note,) = raised.value.__notes__
    assert "Sequential was called with the example, a tensor of type float32 and shape (2, 9)" in note


def learner(rule: object = "local-ce", model: nn.Module | None = None, **settings: object) -> Learner:
    model = model or nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    return Learner(model, rule, example=IMAGES[:2], num_classes=3, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("images", "labels", "why"),
    [
        (
            IMAGES.double(),
            LABELS,
            "they are float64 of shape (batch, 6), and the example was float32 of shape (batch, 6)",
        ),
        (IMAGES[:, None], LABELS, "they are float32 of shape (batch, 1, 6)"),
        (IMAGES.numpy(), LABELS, "they are of type ndarray"),
        ({"images": IMAGES}, LABELS, "they are of type dict"),
        (IMAGES, LABELS.tolist(), "they are of type list"),
    ],
)
def test_a_batch_unlike_the_example_is_refused_by_its_kind(images: object, labels: object, why: str) -> None:
    with pytest.raises(UsageError) as refused:
        learner().step(images, labels)  # type: ignore[arg-type]
    assert why in refused.value.why


def test_nothing_is_learned_in_inference_mode() -> None:
    made = learner()
    with pytest.raises(UsageError, match="inference mode"), torch.inference_mode():
        made.step(IMAGES, LABELS)


@pytest.mark.parametrize("precision", [torch.autocast("cpu", torch.bfloat16), "bf16", lambda: None])
def test_precision_is_a_function_that_makes_a_context(precision: object) -> None:
    with pytest.raises(UsageError, match="precision is not a function"):
        learner(precision=precision)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, 0.1])
def test_an_optimizer_is_given_by_name_or_settings(optimizer: object) -> None:
    with pytest.raises(UsageError, match="by its name or its settings"):
        learner(optimizer=optimizer)


def test_a_learner_does_not_step_at_the_end_of_the_pass() -> None:
    with pytest.raises(UsageError, match="steps each layer as soon as"):
        learner(optimizer={"step_timing": "pass"})


def test_the_options_of_another_rule_are_refused() -> None:
    with pytest.raises(UsageError, match="the options are not those of HSIC"):
        learner("hsic", config=REGISTRY.resolve("rule", "local-ce").Config())


@pytest.mark.parametrize("first", [True, False])
def test_parameters_that_are_frozen_or_unfrozen_later_are_refused_by_name(first: bool) -> None:
    made = learner()
    if first:
        made.network.model[0].requires_grad_(False)
    else:
        made.network.model[2].requires_grad_(False)
        made = learner(model=made.network.model)
        made.network.model[2].requires_grad_(True)
    word, name = ("frozen", "0.weight") if first else ("unfrozen", "2.weight")
    with pytest.raises(UsageError, match=f"parameter '{name}' was {word} after the learner was made"):
        made.step(IMAGES, LABELS)


def test_a_rule_that_belongs_to_a_network_is_not_prepared_for_another() -> None:
    rule = REGISTRY.resolve("rule", "backprop")(REGISTRY.resolve("rule", "backprop").Config())
    learner(rule)
    with pytest.raises(UsageError, match="belongs to another network"):
        learner(rule)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"optimizer": "sgd"}, "the optimizer of layer '0' is of another kind"),
        ({"rule": "hsic"}, "rule state 'objectives."),
        ({"optimizer": "muon"}, "the optimizer of layer '0' is of another kind"),
    ],
)
def test_state_of_another_learner_is_refused_before_any_of_it_is_loaded(other: dict[str, object], why: str) -> None:
    mine, theirs = learner(), learner(**other)
    for each in (mine, theirs):
        each.step(IMAGES, LABELS)
    before = {name: value.clone() for name, value in mine.network.model.state_dict().items()}
    with pytest.raises(UsageError) as refused:
        mine.load_state_dict(theirs.state_dict())
    assert why in refused.value.why
    assert all(torch.equal(value, before[name]) for name, value in mine.network.model.state_dict().items())
    with pytest.raises(UsageError) as refused:
        mine.load_state_dict(mine.network.model.state_dict())
    assert "learner.network.model.load_state_dict" in refused.value.fix


@pytest.mark.parametrize("rule", ["hsic", "hsic-normalized", "phsic"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_layer_is_read_at_one_position_a_side_at_least(rule: str, value: int) -> None:
    with pytest.raises(UsageError, match=r"'config\.reading' has a value that does not fit"):
        learner(rule, config={"reading": value})


@pytest.mark.parametrize("rule", ["difference-target-propagation", "counter-current", "synthetic-gradients", "sgr"])
def test_what_a_rule_trains_beside_layers_learns_where_all_of_them_are_frozen(rule: str) -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    model.requires_grad_(False)
    made = learner(rule, model)
    before = {name: value.clone() for name, value in made.rule.state_dict().items()}
    made.step(IMAGES, LABELS)
    assert any(not torch.equal(value, before[name]) for name, value in made.rule.state_dict().items())


@pytest.mark.parametrize("rule", ["softhebb", "oja"])
def test_a_layer_whose_operations_are_frozen_beside_a_row_of_parameters_is_refused(rule: str) -> None:
    class Shifted(nn.Module):
        """A frozen linear map, and a shift that learns."""

        def __init__(self) -> None:
            super().__init__()
            self.linear, self.shift = nn.Linear(6, 8).requires_grad_(False), nn.Parameter(torch.zeros(1, 8))

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return (self.linear(values) + self.shift).relu()

    model = nn.Sequential(Shifted(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    made = Learner(model, rule, example=IMAGES[:2], num_classes=3, layers=["0", "1", "3"])
    with pytest.raises(UsageError, match="nothing that the rule trains is left in layer '0'"):
        made.step(IMAGES, LABELS)


@pytest.mark.parametrize("layers", [None, ["0", "3"]])
def test_an_error_in_a_network_of_torchs_classes_is_not_the_rules(layers: list[str] | None) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3))
    made = Learner(model, "hsic", example=torch.randn(2, 1, 8, 8), num_classes=3, layers=layers)
    with pytest.raises(LocalRulesError) as failed:
        made.step(torch.randn(8, 1, 9, 9), LABELS)
    assert failed.value.what == "Sequential failed"
    assert failed.value.where == "forward of Sequential"
    assert "cannot be multiplied" in failed.value.why
