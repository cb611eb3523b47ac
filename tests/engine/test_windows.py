"""Overlapping windows of layers: gradients, borders, the measured class, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.one_step import first_batch, gradients_in_double
from helpers.plain_networks import Residual
from helpers.tiny_sessions import DATASET, as_model, build_session, dense, train
from torch import Tensor, nn
from torch.nn import functional

from localrules import Layer, LayerView, Learner, Objective
from localrules.auditing.audit import audit
from localrules.auditing.dependence import allowed_matrix
from localrules.core.interception import detach_tree, intercept_layers, layer_outputs
from localrules.core.windows import layers_in_windows
from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules_classics.mlp import MLP
from localrules_feedback.fa import FeedbackAlignment
from localrules_forward.forward_forward import ForwardForward
from localrules_supervised.channel_goodness import ChannelGoodness
from localrules_supervised.local_ce import LocalCrossEntropy
from localrules_unsupervised.softhebb import SoftHebb

WEIGHT = 0.7
HIDDEN = {"hidden": (11, 10, 9, 8)}


class Square(Objective):
    """Some function of output and labels, whose reference is one line."""

    def forward(self, view: LayerView) -> Tensor:
        return square(view.output, view.labels)


def square(output: Tensor, labels: Tensor) -> Tensor:
    return (torch.sin(3 * output).flatten(1).mean(1) * (1 + labels)).mean()


MODULES: dict[int, nn.Module] = {}
"""The layers of the last network by position, and at negative places their objectives."""


class Known(Square):
    """Makes its layer known to all others."""

    def __init__(self, config: Any, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if layer.index == 0:
            MODULES.clear()
        MODULES[layer.index] = layer.module


def chain(window: int, rule: type = Square, **settings: Any) -> Session:
    return build_session(
        rule, MLP, DATASET, model_options=HIDDEN, granularity=f"window:{window}", window_weight=WEIGHT, **settings
    )


def plain(window: int) -> Session:
    return build_session(
        Square, as_model(Residual), DATASET, granularity=f"window:{window}:block", window_weight=WEIGHT
    )


def reference(session: Session, connected: Callable[[Layer, Layer], bool]) -> dict[str, Tensor]:
    """Own gradients and ``WEIGHT`` times those of each other objective, of a pass of its own for every objective.

    Args:
        session: In float64 and in training mode.
        connected: Whether a layer's inputs stay in the graph, of a layer and the one whose objective is differentiated.
    """
    network, batch = session.network, first_batch(session)
    total: dict[str, Tensor] = {}
    for target in network.hidden:
        losses: list[Tensor] = []

        def visit(
            layer: Layer,
            forward: Any,
            args: Any,
            kwargs: Any,
            target: Layer = target,
            losses: list[Tensor] = losses,
        ) -> Any:
            if not connected(layer, target):
                args, kwargs = detach_tree(args), detach_tree(kwargs)
            output = forward(*args, **kwargs)
            if layer.name == target.name:
                losses.extend(square(each, batch.labels) for each in layer_outputs(layer, output))
            return output

        torch.manual_seed(0)
        with intercept_layers(network.layers, visit):
            network(batch.images)
        for layer in network.hidden:
            own = dict(layer.module.named_parameters())
            found = torch.autograd.grad(sum(losses), list(own.values()), retain_graph=True, allow_unused=True)
            for name, gradient in zip(own, found, strict=True):
                if gradient is not None:
                    part = gradient if layer.name == target.name else WEIGHT * gradient
                    total[f"{layer.name} {name}"] = total.get(f"{layer.name} {name}", 0) + part
    return total


def check(session: Session, connected: Callable[[Layer, Layer], bool]) -> None:
    gradients_in_double(session)
    found = {
        f"{layer.name} {name}": weight.grad.clone()
        for layer in session.network.hidden
        for name, weight in layer.module.named_parameters()
        if weight.grad is not None
    }
    expected = reference(session, connected)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-14, msg=name)


@pytest.mark.parametrize("window", [2, 3])
def test_gradients_of_a_chain_are_those_of_one_pass_for_every_window(window: int) -> None:
    def connected(layer: Layer, target: Layer) -> bool:
        return target.index - window + 1 < layer.index <= target.index

    check(chain(window), connected)


@pytest.mark.parametrize("network", ["dense", "residual"])
def test_gradients_of_networks_with_several_readers_cross_one_border(network: str) -> None:
    made = dense(Square, granularity="window:2", window_weight=WEIGHT) if network == "dense" else plain(2)
    check(made, lambda layer, target: layer.name == target.name)


def test_without_the_weight_it_is_the_local_rule() -> None:
    plain_rule = build_session(LocalCrossEntropy, MLP, DATASET, model_options=HIDDEN)
    windows = build_session(
        LocalCrossEntropy, MLP, DATASET, model_options=HIDDEN, granularity="window:2", window_weight=0.0
    )
    for session in (plain_rule, windows):
        train(session, 0, 3)
    for one, other in zip(plain_rule.network.parameters(), windows.network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_transformed_outputs_are_crossed_by_gradients() -> None:
    session = chain(2, ChannelGoodness, rule_options={"preset": "deeperforward"})
    alone = build_session(ChannelGoodness, MLP, DATASET, model_options=HIDDEN, rule_options={"preset": "deeperforward"})
    found, _ = gradients_in_double(session)
    without, _ = gradients_in_double(alone)
    assert not torch.allclose(found["layers.2.0.weight"], without["layers.2.0.weight"])
    assert torch.allclose(found["layers.3.0.weight"], without["layers.3.0.weight"])


def test_networks_on_other_inputs_train_in_windows() -> None:
    session = chain(2, ForwardForward)
    before = [weight.clone() for weight in session.network.hidden[0].parameters()]
    train(session, 0, 2)
    assert not all(map(torch.equal, before, session.network.hidden[0].parameters()))


@pytest.mark.parametrize("window", [2, 3])
def test_the_audit_finds_the_class_window_and_no_dependence_beyond_it(window: int) -> None:
    found = audit(lambda: chain(window, LocalCrossEntropy), "window")
    assert (found.measured, found.holds) == ("window", True)
    band = [[column < row + window for column in range(4)] for row in range(4)]
    assert [list(row[:4]) for row in found.dependence.depends[:4]] == band
    assert not any(row[4] for row in found.dependence.depends[:4])  # the readout


@pytest.mark.slow
def test_what_goes_beyond_its_window_is_not_of_that_class() -> None:
    class Peeks(Known):
        """Also learns from the weights of the layer two above."""

        def forward(self, view: LayerView) -> Tensor:
            above = MODULES[place].parameters() if (place := self.layer.index + 2) in MODULES else ()
            return square(view.output, view.labels) * (1 + sum(weight.detach().abs().mean() for weight in above))

    assert audit(lambda: chain(3, Peeks), "window").measured == "feedback"
    assert audit(lambda: chain(2, Peeks), "window").reasons
    found = audit(lambda: chain(2, Square), "local-labels")
    assert not found.holds
    assert "declares 'local-labels' and is 'window'" in found.reasons[0]


def test_what_is_kept_and_passed_on_from_step_to_step_is_found() -> None:
    class PassesOn(Known):
        """Keeps what the layer above kept in the step before, so that it comes down by one layer a step."""

        kept: Tensor

        def __init__(self, config: Any, layer: Layer, num_classes: int) -> None:
            super().__init__(config, layer, num_classes)
            self.register_buffer("kept", torch.zeros(()))
            MODULES[-1 - layer.index] = self

        def forward(self, view: LayerView) -> Tensor:
            above = MODULES.get(-2 - self.layer.index)
            heard = above.kept if isinstance(above, PassesOn) else 0.0
            self.kept = (view.output.detach().mean() + heard).detach()
            return square(view.output, view.labels) * (1 + heard)

    found = audit(lambda: chain(2, PassesOn), "window")
    assert found.measured == "feedback"
    assert not found.holds


def test_layers_reached_across_borders() -> None:
    layers = chain(3).network.layers
    names = [layer.name for layer in layers]
    assert layers_in_windows(layers, 3) == {
        names[0]: {names[1], names[2]},
        names[1]: {names[2], names[3]},
        names[2]: {names[3]},
        names[3]: set(),
    }
    assert allowed_matrix(layers, 1) == tuple(tuple(c < r for c in range(5)) for r in range(5))


@pytest.mark.parametrize("rule", [FeedbackAlignment, SoftHebb])
def test_rules_without_a_gradient_at_the_output_are_refused(rule: type) -> None:
    with pytest.raises(UsageError, match="cannot train windows of layers") as refused:
        chain(2, rule)
    assert refused.value.why
    assert "a rule that can" in refused.value.fix


@pytest.mark.parametrize(
    ("granularity", "what"),
    [
        ("window:4", "no windows of 4 layers"),
        ("window:2:2", "no windows of 2 layers"),
        ("window:1", "granularity"),
        ("window:2:", "granularity"),
        ("windows", "granularity"),
    ],
)
def test_windows_that_there_are_not_are_refused(granularity: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        build_session(Square, MLP, DATASET, model_options=HIDDEN, granularity=granularity)


def test_layers_of_a_window_do_not_learn_in_parallel() -> None:
    with pytest.raises(UsageError, match="cannot learn at the same time"):
        chain(2, parallel_layers=2)


def test_layers_that_stand_still_send_nothing_down_and_the_others_learn() -> None:
    phases = [{"name": "lower", "train_layers": ["layers.0", "layers.1"]}]
    session = chain(2, phases=phases)
    check_layers = {layer.name: [weight.clone() for weight in layer.parameters()] for layer in session.network.layers}
    train(session, 0, 2)
    moved = {
        layer.name
        for layer in session.network.layers
        if not all(map(torch.equal, check_layers[layer.name], layer.parameters()))
    }
    assert moved == {"layers.0", "layers.1"}


def test_objectives_sum_over_outputs_and_the_readout_learns_by_cross_entropy() -> None:
    session = dense(Square, granularity="window:2:3")
    _, report = gradients_in_double(session)
    assert report.loss is not None
    batch = first_batch(session)
    assert report.logits is not None
    assert report.loss.item() == pytest.approx(functional.cross_entropy(report.logits.float(), batch.labels).item())


def test_a_layer_whose_reader_is_left_out_of_a_step_learns_all_the_same() -> None:
    class Skipping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(4))
            self.readout = nn.Linear(6, 3)
            self.left_out = -1

        def forward(self, values: Tensor) -> Tensor:
            for index, block in enumerate(self.blocks):
                if index != self.left_out:
                    values = values + block(values)
            logits: Tensor = self.readout(values)
            return logits

    torch.manual_seed(0)
    model, images, labels = Skipping(), torch.randn(12, 6), torch.arange(12) % 3
    named = {"layers": ["blocks.*", "readout"], "granularity": "window:2"}
    learner = Learner(model, "local-ce", example=images, num_classes=3, **named)  # type: ignore[arg-type]
    learner.step(images, labels)
    model.left_out = 1
    before = [block[0].weight.detach().clone() for block in model.blocks]  # type: ignore[index]
    learner.step(images, labels)
    changed = [not torch.equal(old, block[0].weight) for old, block in zip(before, model.blocks, strict=True)]  # type: ignore[index]
    assert changed == [True, False, True, True]
