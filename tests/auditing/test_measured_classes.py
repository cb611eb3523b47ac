"""Rules that hide what they are: the audit finds the class under which they come furthest."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules import Batch, Layer, LayerView, Model, Network, Objective, Rule, RuleConfig, RuleInfo, StepReport
from localrules.auditing.circumstances import why_it_cannot_train
from localrules.auditing.in_run import InRunAudit
from localrules.core.layer_spec import LayerSpec
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.testing import audit, build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.mlp import MLP
from localrules_feedback.fa import FeedbackAlignment

pytestmark = pytest.mark.slow

FEEDBACK = RuleInfo(locality="feedback")


def builder(rule: Any, model: Any = MLP, *, classes: int = 4, **settings: Any) -> Callable[[], Session]:
    options = {"hidden": (8, 7, 6)} if model is MLP else {}
    return lambda: build_session(rule, model, toy_dataset(classes=classes), model_options=options, **settings)


class LaterBackprop(FeedbackAlignment):
    """Feedback alignment in its first three steps, and back-propagation from then on."""

    taken = 0

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        self.taken += 1
        return Backprop.step(self, network, batch, context) if self.taken > 3 else super().step(network, batch, context)  # type: ignore[arg-type]


class ChainRuleByHand(Rule):
    """Back-propagation in which each layer has a graph of its own."""

    info = FEEDBACK

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        values, passed = batch.images.flatten(1), []
        for layer in network.layers:
            given = values.detach().requires_grad_()
            values = layer.module(given)
            passed.append((layer, given, values))
        loss = functional.cross_entropy(values, batch.labels)
        error = None
        for layer, given, output in reversed(passed):
            if error is None:
                loss.backward()
            else:
                output.backward(error)
            error = given.grad
            context.step_layer(layer)
        return StepReport(logits=values.detach(), loss=loss.detach())


class OneHeadOnTop(Rule):
    """A head on the last hidden layer trains all hidden layers by the chain rule, the readout apart."""

    info = FEEDBACK

    def prepare(self, network: Network, num_classes: int) -> None:
        self.last = network.hidden[-1].name
        self.head = nn.Linear(network.hidden[-1].out_channels, num_classes)

    def parameters_for(self, layer: Layer) -> Any:
        return self.head.parameters() if layer.name == self.last else ()

    def step(self, network: Network, batch: Batch, context: Any) -> StepReport:
        values = batch.images.flatten(1)
        for layer in network.hidden:
            values = layer.module(values)
        functional.cross_entropy(self.head(values), batch.labels).backward()
        logits = network.readout.module(values.detach())
        functional.cross_entropy(logits, batch.labels).backward()
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport(logits=logits.detach())


class Unit(nn.Module):
    """A linear map in one of several ways, and tanh."""

    def __init__(self, inputs: int, outputs: int, how: str) -> None:
        super().__init__()
        self.how = how
        self.linear: nn.Module = nn.Conv1d(inputs, outputs, 1) if how == "conv1d" else nn.Linear(inputs, outputs)
        if how == "tied":
            self.again = nn.Linear(inputs, outputs)
            self.again.weight = self.linear.weight  # type: ignore[assignment]
        if how == "frozen":
            self.linear.bias.requires_grad_(False)  # type: ignore[union-attr, operator]

    def forward(self, values: Tensor) -> Tensor:
        if self.how == "conv1d":
            return self.linear(values[:, :, None])[:, :, 0].tanh()
        if self.how == "matmul":
            return (values @ self.linear.weight.t()).tanh() + self.linear.bias  # type: ignore[operator]
        found = self.linear(values)
        return found.tanh() + self.again(values).tanh() if self.how == "tied" else found.tanh()


def chain(how: str) -> type[Model]:
    class Chain(Model):
        """Three hidden layers."""

        def __init__(self, config: Any, shape: tuple[int, ...], num_classes: int) -> None:
            super().__init__(config, shape, num_classes)
            widths = (torch.Size(shape).numel(), 8, 7, 6)
            self.layers = nn.ModuleList(Unit(one, other, how) for one, other in pairwise(widths))
            self.readout = nn.Linear(6, num_classes)
            self.layer_spec = LayerSpec(layers=["layers.*"], readout="readout")

        def forward(self, images: Tensor) -> Tensor:
            values = images.flatten(1)
            for layer in self.layers:
                values = layer(values)
            return self.readout(values)

    return Chain


def test_a_rule_that_comes_to_back_propagation_later_is_back_propagation() -> None:
    assert audit(builder(LaterBackprop), "feedback").measured == "feedback"
    found = audit(builder(LaterBackprop), "feedback", elsewhere=[builder(LaterBackprop, steps=8)])
    assert found.measured == "backprop"
    assert not found.holds


@pytest.mark.parametrize("how", ["linear", "tied", "frozen"])
def test_the_chain_rule_by_hand_is_back_propagation(how: str) -> None:
    assert audit(builder(ChainRuleByHand, chain(how)), "feedback").measured == "backprop"


@pytest.mark.parametrize("how", ["linear", "matmul", "conv1d"])
def test_errors_that_come_down_by_weights_of_any_kind_are_back_propagation(how: str) -> None:
    assert audit(builder(OneHeadOnTop, chain(how)), "feedback").measured == "backprop"


class PairsOfLabels(Objective):
    """Images of one label shall be alike: a kernel on labels, to which their names are the same."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        values = functional.normalize(view.output.flatten(1))
        return (values @ values.T - (view.labels[:, None] == view.labels).float()).square().mean()


@pytest.mark.parametrize("classes", [2, 4])
def test_a_run_on_two_classes_sees_that_labels_are_read(classes: int, tmp_path: Path) -> None:
    session = builder(PairsOfLabels, classes=classes, steps=6)()
    found = InRunAudit(session, tmp_path)
    for step in range(6):
        found.before_step(step)
        train_steps(session, 1, start=step)
    assert found.measured == "local-labels"
    assert not found.holds


class MeasuredOnce(Objective):
    """Divides by the scale of the first batch, which is NaN until then."""

    info = RuleInfo(locality="local")

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.register_buffer("scale", torch.tensor(float("nan")))

    def forward(self, view: LayerView) -> Tensor:
        values = view.output.flatten(1)
        if bool(self.scale.isnan()):
            self.scale.copy_(values.detach().abs().mean() + 1e-3)
        return (values.mean(0) / self.scale - 1).square().mean()


def test_a_buffer_that_is_not_a_number_at_first_is_not_written_to_by_other_layers() -> None:
    found = audit(builder(MeasuredOnce), "local")
    assert found.holds, found.reasons


class NeedsTwoLater(Objective):
    """Fails on one image, from the second step on."""

    info = RuleInfo(locality="local")
    seen = False

    def forward(self, view: LayerView) -> Tensor:
        if self.seen and len(view.output) < 2:
            raise ValueError("one image is too few")
        self.seen = True
        return view.output.square().mean()


def test_circumstances_in_which_a_rule_fails_later_cannot_be_measured() -> None:
    why = why_it_cannot_train(builder(NeedsTwoLater, chain("linear"), batch_size=1, steps=3))
    assert "one image is too few" in why


def test_an_audit_leaves_the_process_as_it_was() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state(), torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    audit(builder(NeedsTwoLater), "local", elsewhere=[builder(NeedsTwoLater, steps=4)])
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:] == (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())
