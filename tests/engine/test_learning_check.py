"""A layer that should learn and does not is an error in the first step, in a run and in a Learner."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.plain_networks import sequential
from torch import Tensor, nn
from torch.nn import functional

from localrules import Batch, Context, LayerView, Learner, Network, Objective, Rule, RuleInfo, StepReport
from localrules.engine.step import train_steps
from localrules.errors import UsageError
from localrules.testing import build_session, toy_dataset
from localrules_classics.mlp import MLP

IMAGES, LABELS = torch.randn(8, 1, 16, 16), torch.arange(8) % 4


class Detached(Objective):
    """A head learns; the layer does not."""

    def __init__(self, config: Any, layer: Any, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.head = nn.Linear(layer.pooled_features(4), num_classes)

    def forward(self, view: LayerView) -> Tensor:
        return functional.cross_entropy(self.head(view.pooled(4).detach()), view.labels)


class FromInputs(Detached):
    """A head on the layer's inputs learns."""

    def __init__(self, config: Any, layer: Any, num_classes: int) -> None:
        Objective.__init__(self, config, layer, num_classes)
        self.head = nn.LazyLinear(num_classes)
        self.head(torch.zeros(1, torch.Size(layer.in_shape).numel()))

    def forward(self, view: LayerView) -> Tensor:
        return functional.cross_entropy(self.head(view.inputs[0].flatten(1)), view.labels)


class Declared(Detached):
    """Says that layers stay as they are."""

    info = RuleInfo(trains_layers=False)


class Forgets(Rule):
    """Never steps the readout."""

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        functional.cross_entropy(network(batch.images), batch.labels).backward()
        for layer in network.hidden:
            context.step_layer(layer)
        return StepReport()


class TooEarly(Rule):
    """Steps before it computes gradients."""

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        for layer in network.layers:
            context.step_layer(layer)
        functional.cross_entropy(network(batch.images), batch.labels).backward()
        return StepReport()


WRONG = {
    Detached: "'layers.0' would not learn",
    FromInputs: "'layers.0' would not learn",
    TooEarly: "'layers.0' would not learn",
    Forgets: "'readout' was not stepped",
}


def session(rule: Any, **settings: Any) -> Any:
    return build_session(rule, MLP, toy_dataset(), model_options={"hidden": (8, 6)}, steps=2, **settings)


@pytest.mark.parametrize("rule", WRONG)
def test_a_run_stops_in_its_first_step(rule: Any) -> None:
    with pytest.raises(UsageError) as refused:
        train_steps(session(rule))
    assert WRONG[rule] in refused.value.what
    assert rule.__name__ in refused.value.why


@pytest.mark.parametrize("rule", WRONG)
def test_a_learner_stops_in_its_first_step(rule: Any) -> None:
    learner = Learner(sequential(), rule, example=IMAGES, num_classes=4)
    with pytest.raises(UsageError, match=r"would not learn|was not stepped"):
        learner.step(IMAGES, LABELS)


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_layer_that_learns_beside_the_pass_is_checked_too(parallel: int) -> None:
    with pytest.raises(UsageError, match="would not learn"):
        train_steps(session(Detached, parallel_layers=parallel))


def test_a_rule_may_declare_that_layers_stay_as_they_are() -> None:
    run = session(Declared)
    before = {name: one.clone() for name, one in run.network.model.named_parameters()}
    train_steps(run)
    assert {name for name, one in run.network.model.named_parameters() if not torch.equal(one, before[name])} == {
        "readout.weight",
        "readout.bias",
    }


def test_layers_are_checked_in_the_phase_in_which_they_learn() -> None:
    phases = [{"name": "readout", "train_layers": "readout"}, {"name": "hidden", "train_layers": ["layers.*"]}]
    run = session(Detached, phases=phases)
    with pytest.raises(UsageError, match="would not learn"):
        train_steps(run)


class SometimesSkipped(nn.Module):
    """The middle layer runs in every ``period``-th training step."""

    def __init__(self, period: int) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)
        self.period, self.calls = period, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.calls += self.training
        hidden = self.first(inputs).relu()
        if not self.training or self.calls % self.period == 0:
            hidden = hidden + self.middle(hidden).relu()
        return self.last(hidden)


def skipping(rule: str, period: int, steps: int) -> Learner:
    model, inputs = SometimesSkipped(period), torch.randn(8, 8)
    learner = Learner(model, rule, example=inputs, num_classes=4, layers=["first", "middle", "last"])
    model.calls = 0
    for _ in range(steps):
        learner.step(inputs, LABELS)
    return learner


@pytest.mark.parametrize("rule", ["local-ce", "hsic", "backprop", "dfa"])
def test_a_layer_that_forward_skips_learns_when_it_runs(rule: str) -> None:
    torch.manual_seed(0)
    learner = skipping(rule, period=5, steps=4)
    before = learner.network.model.middle.weight.detach().clone()
    for _ in range(8):  # in the first of two runs a new head passes no gradient on
        learner.step(torch.randn(8, 8), LABELS)
    assert not torch.equal(learner.network.model.middle.weight, before)


def test_a_layer_that_never_runs_in_training_is_an_error() -> None:
    with pytest.raises(UsageError, match="'middle' did not run in 100 steps"):
        skipping("local-ce", period=1000, steps=100)


def test_a_forgotten_layer_is_an_error_once_it_runs() -> None:
    mixture = {"middle": Detached, "*": "local-ce"}
    model, inputs = SometimesSkipped(3), torch.randn(8, 8)
    learner = Learner(model, mixture, example=inputs, num_classes=4, layers=["first", "middle", "last"])
    model.calls = 0
    learner.step(inputs, LABELS)
    learner.step(inputs, LABELS)
    with pytest.raises(UsageError, match="'middle' would not learn"):
        learner.step(inputs, LABELS)


def test_nothing_stays_on_the_layers_once_each_was_looked_at() -> None:
    module = sequential()
    Learner(module, "local-ce", example=IMAGES, num_classes=4).step(IMAGES, LABELS)
    assert not any(one._forward_pre_hooks for one in module.modules())


def test_frozen_layers_need_no_gradient() -> None:
    module = sequential()
    for parameter in module[0].parameters():
        parameter.requires_grad_(False)
    Learner(module, "backprop", example=IMAGES, num_classes=4).step(IMAGES, LABELS)


@pytest.mark.parametrize("rule", ["hsic", "backprop", "fa", "dfa", "predictive-coding", "forward-forward", "cafo"])
def test_a_frozen_layer_stays_as_it_is_with_its_statistics(rule: str) -> None:
    module = sequential()
    if rule == "forward-forward":
        module = nn.Sequential(*[part for part in module if not isinstance(part, nn.BatchNorm2d)])
    norms = [part for part in module if isinstance(part, nn.BatchNorm2d)]
    for part in (module[0], *norms):
        part.requires_grad_(False)
    before = {name: one.clone() for name, one in module.state_dict().items()}
    learner = Learner(module, rule, example=IMAGES, num_classes=4)
    learner.step(IMAGES, LABELS)
    changed = {name for name, one in module.state_dict().items() if not torch.equal(one, before[name])}
    assert not any(name.startswith("0.") for name in changed)
    assert not any("running" in name for name in changed)
    if rule != "cafo":
        assert changed


TOKENS = torch.randint(0, 50, (8, 12), generator=torch.Generator().manual_seed(0))


def reader() -> nn.Module:
    return nn.Sequential(nn.Embedding(50, 8), nn.Flatten(), nn.Linear(96, 16), nn.ReLU(), nn.Linear(16, 4))


@pytest.mark.parametrize("rule", ["forward-forward", "pepita", "infopro", "sigprop", "hsic", "hsic-normalized"])
def test_a_rule_that_computes_with_the_inputs_refuses_tokens(rule: str) -> None:
    with pytest.raises(UsageError) as refused:
        Learner(reader(), rule, example=TOKENS, num_classes=4).step(TOKENS, LABELS)
    assert "int64" in refused.value.where + refused.value.why
    assert refused.value.fix


@pytest.mark.parametrize("rule", ["local-ce", "hsic-projected", "phsic", "backprop", "dfa"])
def test_other_rules_take_tokens(rule: str) -> None:
    Learner(reader(), rule, example=TOKENS, num_classes=4).step(TOKENS, LABELS)


def test_hsic_takes_tokens_without_a_kernel_of_the_input() -> None:
    learner = Learner(reader(), "hsic", example=TOKENS, num_classes=4, config={"reference": "none"})
    learner.step(TOKENS, LABELS)


@pytest.mark.parametrize("rule", ["softhebb", "oja", "pepita"])
def test_a_layer_without_operations_is_refused_by_rules_that_change_their_weights(rule: str) -> None:
    module = nn.Sequential(nn.Unflatten(1, (16, 16)), nn.Conv1d(16, 8, 3), nn.Flatten(), nn.Linear(112, 4))
    images = IMAGES.flatten(1)
    with pytest.raises(UsageError) as refused:
        Learner(module, rule, example=images, num_classes=4).step(images, LABELS)
    assert "weight" in refused.value.why
    assert "Conv1d" in refused.value.where or "'1'" in refused.value.where


def test_labels_do_not_replace_the_whole_input() -> None:
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    inputs = torch.randn(8, 4)
    with pytest.raises(UsageError, match="labels would replace the inputs"):
        Learner(module, "forward-forward", example=inputs, num_classes=4).step(inputs, LABELS)
