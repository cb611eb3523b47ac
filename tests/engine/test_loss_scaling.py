"""Training in fp16: losses are scaled, so that small gradients are not lost, and a step that overflows is left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_sessions import RULES, perceptron, state, train
from torch import Tensor
from torch.nn import functional

from localrules import Layer, LayerView, Objective, RuleConfig
from localrules.config.settings import Settings
from localrules.engine.phases import apply_phase
from localrules.engine.resolve import resolve_run
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.errors import UsageError
from localrules.registry.registry import Registry

FIRST_SCALE = 65536.0


class Faint(Objective):
    """The gradient at an output is below the smallest number of fp16."""

    strength = 1e-8

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.register_buffer("reader", torch.linspace(-1, 1, num_classes * layer.out_shape[0]).view(num_classes, -1))

    def forward(self, view: LayerView) -> Tensor:
        loss = functional.cross_entropy(view.output @ self.reader.T, view.labels)
        return loss * self.factor()

    def factor(self) -> float:
        return self.strength


class OneOverflows(Faint):
    """The gradients of the second layer are infinite when they are scaled."""

    def factor(self) -> float:
        return 1e35 if self.layer.name == "layers.1" else 1e-3


def session(rule: type, precision: str = "fp16", **settings: Any) -> Session:
    plain = {"name": "sgd", "lr": 1e6, "momentum": 0.0}
    return perceptron(rule, precision=precision, **{"optimizer": plain, **settings})


def movement(made: Session) -> dict[str, Tensor]:
    """The change of each layer's weights in one step."""
    weights = {layer.name: next(iter(layer.parameters())) for layer in made.network.layers}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    train(made, 0, 1)
    return {name: weight.detach() - before[name] for name, weight in weights.items()}


def scales(made: Session) -> dict[str, float]:
    assert made.loss_scaling is not None
    return {name: state["scale"] for name, state in made.loss_scaling.state_dict().items()}


def logged(made: Session, step: int = 0) -> dict[str, float]:
    """The scales among the metrics of a step."""
    (phase,) = [phase for phase in made.phases if phase.start <= step < phase.stop]
    apply_phase(phase, made.network, made.trainable)
    metrics = train_step(made, phase, step).report.metrics
    return {name: float(value) for name, value in metrics.items() if name.startswith("loss_scale")}


def assert_near(found: Tensor, expected: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * float(expected.abs().max()))


def test_gradients_that_fp16_cannot_hold_are_those_of_fp32() -> None:
    expected, found = movement(session(Faint, "fp32")), movement(session(Faint))
    for name in ("layers.0", "layers.1", "layers.2"):
        assert expected[name].abs().max() > 0
        torch.testing.assert_close(
            found[name], expected[name], rtol=0.02, atol=0.02 * float(expected[name].abs().max())
        )


def test_without_a_scale_they_are_zero() -> None:
    """The witness that the gradients of the test above need a scale."""
    made = session(Faint)
    made.loss_scaling = None
    moved = movement(made)
    assert [float(moved[name].abs().max()) for name in ("layers.0", "layers.1", "layers.2")] == [0.0, 0.0, 0.0]


def test_a_layer_that_overflows_is_not_stepped_and_no_other_layer_knows() -> None:
    made = session(OneOverflows)
    moved = {name: float(each.abs().max()) for name, each in movement(made).items()}
    assert moved.pop("layers.1") == 0.0
    assert min(moved.values()) > 0
    assert scales(made) == {
        "": FIRST_SCALE,
        "layers.0": FIRST_SCALE,
        "layers.1": FIRST_SCALE / 2,
        "layers.2": FIRST_SCALE,
        "readout": FIRST_SCALE,
    }
    assert logged(made, 1)["loss_scale/layers.1"] == FIRST_SCALE / 4


def test_one_loss_of_all_layers_has_one_scale() -> None:
    made = perceptron(RULES["backprop"], precision="fp16")
    moved = movement(made)
    assert all(float(each.abs().max()) > 0 for each in moved.values())
    assert logged(made, 1) == {"loss_scale": FIRST_SCALE}


def test_one_loss_of_all_layers_is_scaled_down_once_a_step() -> None:
    made = perceptron(RULES["backprop"], precision="fp16")
    for parameter in made.network.parameters():
        parameter.register_hook(lambda gradient: gradient * float("inf"))
    assert all(float(each.abs().max()) == 0 for each in movement(made).values())
    assert scales(made)[""] == FIRST_SCALE / 2


def test_a_phase_logs_the_scales_of_the_layers_that_learn_in_it() -> None:
    made = session(RULES["local-ce"], phases="two-phase", steps=4)
    readout = next(phase for phase in made.phases if phase.name == "readout")
    assert "loss_scale/layers.0" in logged(made, 0)
    assert logged(made, readout.start).keys() == {"loss_scale/readout"}


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "muon"])
def test_the_step_after_one_that_was_left_out_is_a_first_step(name: str) -> None:
    """Fused SGD, for one, keeps a momentum that nobody has set."""
    sessions = [session(Faint, optimizer={"name": name, "lr": 0.01}) for _ in range(2)]
    overflows = [
        parameter.register_hook(lambda gradient: gradient * float("inf"))
        for parameter in sessions[0].network.parameters()
    ]
    for made in sessions:
        made.optimizers.set_learning_rate(0.01)
    before = state(sessions[0])
    logged(sessions[0], 1)
    assert all(torch.equal(before[n], each) for n, each in state(sessions[0]).items() if n.endswith(("weight", "bias")))
    for hook in overflows:
        hook.remove()
    for made in sessions:
        for module in made.network.modules():
            if isinstance(module, torch.nn.BatchNorm1d):
                module.reset_running_stats()
        logged(made, 0)
    ones, others = map(state, sessions)
    for key, each in ones.items():
        assert_near(each, others[key], 0.01)


@pytest.mark.parametrize("timing", ["layer", "pass"])
def test_windows_of_layers_share_a_scale(timing: str) -> None:
    """A gradient that crosses a border is scaled by the factor of the layer that it comes from."""
    settings = {"granularity": "window:2", "optimizer": {"name": "sgd", "lr": 0.1, "step_timing": timing}}
    found = movement(perceptron(RULES["local-ce"], precision="fp16", **settings))
    expected = movement(perceptron(RULES["local-ce"], **settings))
    for name, each in expected.items():
        assert_near(found[name], each, 0.05)


def test_a_rule_that_computes_gradients_by_itself_is_refused() -> None:
    names = {"rule": {"name": "dfa"}, "model": {"name": "mlp"}, "data": {"name": "faces"}, "precision": "fp16"}
    with pytest.raises(UsageError) as refused:
        resolve_run(Settings.from_tree(names), Registry.load(allow=[]))
    assert refused.value.what == "rule 'dfa' cannot be trained in fp16"
    assert "hsic" in refused.value.fix
    assert "backprop" in refused.value.fix
    assert " dfa" not in refused.value.fix
