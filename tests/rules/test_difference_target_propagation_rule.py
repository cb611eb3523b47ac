"""Difference target propagation against its formulas, and against back-propagation where they meet."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from helpers.one_step import by_autograd, first_batch, gradients_in_double
from helpers.tiny_sessions import dense, perceptron, state
from test_hard_batches import HARD, assert_stays_finite
from torch import nn

from localrules import state_key
from localrules.auditing.dependence import measure_dependence
from localrules.auditing.locality_class import measure_class
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.lenet import LeNet
from localrules_classics.mlp import MLP
from localrules_energy.difference_target_propagation import DifferenceTargetPropagation
from localrules_energy.inverses import inverse

PLAIN: dict[str, Any] = {"norm": False, "activation": "tanh"}


def tiny(rule: type = DifferenceTargetPropagation, **rule_options: Any) -> Session:
    options = {**PLAIN, "hidden": (5, 4, 3)}
    return build_session(rule, MLP, toy_dataset(shape=(1, 3, 3)), model_options=options, rule_options=rule_options)


def lenet(rule: type = DifferenceTargetPropagation, **settings: Any) -> Session:
    return build_session(rule, LeNet, toy_dataset(), model_options={"activation": "tanh"}, **settings)


def test_dropout_drops_the_same_units_in_the_noisy_pass() -> None:
    session = build_session(
        DifferenceTargetPropagation,
        MLP,
        toy_dataset(),
        model_options={**PLAIN, "hidden": (12, 10), "dropout": 0.5},
        rule_options={"noise": 0.0},  # without noise both passes have the same outputs
    )
    read: list[torch.Tensor] = []
    for module in session.network.hidden[1].module:
        if isinstance(module, nn.Dropout):
            module.register_forward_hook(lambda module, args, output: read.append(output.detach()))
    train_step(session, session.phases[0], 0)
    first, second = read
    assert (first == 0).any()
    assert torch.equal(first, second)


def test_against_the_formula_written_out() -> None:
    """Targets, layers' gradients and inverses' gradients, image by image."""
    session = tiny(step=0.3, noise=0.0)  # without noise nothing is drawn
    found, _ = gradients_in_double(session)
    named = {**dict(session.network.model.named_parameters()), **dict(session.rule.named_parameters())}
    weights = {name: weight.detach() for name, weight in named.items()}
    layers = [(weights[f"layers.{i}.0.weight"], weights[f"layers.{i}.0.bias"]) for i in range(3)]
    back = {i: tuple(weights[f"inverses.layers/{i}#0.linear.{kind}"] for kind in ("weight", "bias")) for i in (1, 2)}
    readout = weights["readout.weight"], weights["readout.bias"]

    expected = {name: torch.zeros_like(weight) for name, weight in found.items() if name.endswith("weight")}
    batch = first_batch(session)
    samples = len(batch.labels)
    for image, label in zip(batch.images.flatten(1), batch.labels, strict=True):
        states = [image]
        for matrix, bias in layers:
            states.append(torch.tanh(matrix @ states[-1] + bias))
        error = torch.softmax(readout[0] @ states[3] + readout[1], 0)
        error[label] -= 1

        def invert(layer: int, value: torch.Tensor) -> torch.Tensor:
            return torch.tanh(back[layer][0] @ value + back[layer][1])

        targets = {3: states[3] - 0.3 * readout[0].T @ error}
        for layer in (2, 1):
            above = layer + 1
            targets[layer] = states[layer] + invert(layer, targets[above]) - invert(layer, states[above])
        for index in range(3):
            slope = (states[index + 1] - targets[index + 1]) * (1 - states[index + 1] ** 2) / 0.3
            expected[f"layers.{index}.0.weight"] += torch.outer(slope, states[index]) / samples
        for layer in (1, 2):
            inverted = invert(layer, states[layer + 1])
            slope = (inverted - states[layer]) * (1 - inverted**2)
            expected[f"rule.inverses.layers/{layer}#0.linear.weight"] += torch.outer(slope, states[layer + 1]) / samples
        expected["readout.weight"] += torch.outer(error, states[3]) / samples
    assert len(expected) == 6
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("step", [0.01, 0.22, 2.0])
@pytest.mark.parametrize("build", [tiny, lenet])
def test_the_topmost_layer_and_the_readout_learn_as_by_back_propagation(build: Any, step: float) -> None:
    options = {"step": step}
    session = build(**options) if build is tiny else build(rule_options=options)
    found, _ = gradients_in_double(session)
    expected = by_autograd(build(Backprop))
    same = {name for name, gradient in expected.items() if torch.allclose(found[name], gradient, rtol=1e-9)}
    top = session.network.hidden[-1].name
    assert same == {name for name in expected if name.startswith((top, "readout"))}


def test_with_the_transposed_jacobian_for_an_inverse_it_is_back_propagation() -> None:
    """The difference correction of a linear inverse is its matrix times the difference of targets."""
    options = {**PLAIN, "hidden": (5, 4, 3)}
    data = toy_dataset(shape=(1, 3, 3))
    made: dict[type, Session] = {
        rule: build_session(rule, MLP, data, model_options=options, rule_options=own)
        for rule, own in ((DifferenceTargetPropagation, {"inverse": "linear"}), (Backprop, {}))
    }
    for session in made.values():  # linear layers: the Jacobian is the matrix
        for layer in session.network.hidden:
            layer.module[1] = nn.Identity()
    session = made[DifferenceTargetPropagation]
    with torch.no_grad():
        for layer in session.network.hidden[1:]:
            session.rule.inverses[state_key(layer)].linear.weight.copy_(layer.module[0].weight.T)
    found, _ = gradients_in_double(session)
    for name, gradient in by_autograd(made[Backprop]).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-12)


def test_inverses_learn_to_undo_their_layers() -> None:
    session = tiny()
    session.rule.train()
    wrong = []
    layers, inverses = session.network.hidden, session.rule.inverses
    for step in range(150):
        if step % 149 == 0:
            with torch.no_grad():
                values = first_batch(session).images.float().flatten(1)
                first = layers[0].module(values)
                wrong.append(float((inverses["layers/1#0"](layers[1].module(first)) - first).square().mean()))
        train_step(session, session.phases[0], 0)
    assert wrong[1] < wrong[0] / 2


@pytest.mark.parametrize(
    ("out_shape", "in_shape"), [((7,), (5,)), ((7,), (2, 3, 3)), ((4, 3, 3), (2, 6, 5)), ((4, 3, 3), (2, 3, 3))]
)
def test_an_inverse_has_the_shape_and_range_of_the_layer_below(
    out_shape: tuple[int, ...], in_shape: tuple[int, ...]
) -> None:
    found = inverse(out_shape, in_shape, "tanh")(50 * torch.randn(3, *out_shape))
    assert found.shape == (3, *in_shape)
    assert bool((found.abs() <= 1).all())
    assert float(inverse(out_shape, in_shape, "linear")(50 * torch.randn(3, *out_shape)).detach().abs().max()) > 1


def test_an_inverse_learns_with_its_layer_and_is_saved() -> None:
    session = lenet()
    first, *others = session.network.hidden
    assert not list(session.rule.parameters_for(first))
    owned = [weight for layer in others for weight in session.rule.parameters_for(layer)]
    assert {id(weight) for weight in owned} == {id(weight) for weight in session.rule.parameters()}
    before = copy.deepcopy(session.rule.state_dict())
    train_step(session, session.phases[0], 0)
    assert all(not torch.equal(before[name], tensor) for name, tensor in session.rule.state_dict().items())


def test_batch_norms_count_a_batch_once() -> None:
    sessions = [
        build_session(rule, MLP, toy_dataset(), model_options={"hidden": (12, 10), "norm": True, "activation": "tanh"})
        for rule in (DifferenceTargetPropagation, Backprop)
    ]
    for session in sessions:
        train_step(session, session.phases[0], 0)
    found, expected = map(state, sessions)
    for name in [name for name in expected if "running" in name or "num_batches" in name]:
        assert torch.equal(found[name], expected[name]), name


def test_a_network_other_than_a_chain_is_refused_before_any_work() -> None:
    with pytest.raises(UsageError, match="cannot train") as found:
        dense(DifferenceTargetPropagation)
    assert "sequential" in found.value.why


def test_signals_come_down_from_layer_to_layer() -> None:
    dependence = measure_dependence(tiny)
    assert dependence.deterministic
    assert measure_class(tiny, dependence) == DifferenceTargetPropagation.info.locality == "feedback"


@pytest.mark.parametrize("case", HARD)
def test_a_batch_with_nothing_to_learn_from_breaks_nothing(case: str) -> None:
    assert_stays_finite(perceptron(DifferenceTargetPropagation, data=HARD[case]))


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"precision": "bf16"}])
@pytest.mark.parametrize("network", [perceptron, lenet])
def test_little_batches_and_half_precision(network: Any, settings: dict[str, Any]) -> None:
    assert_stays_finite(network(DifferenceTargetPropagation, **settings))


def test_of_tokens_an_inverse_is_the_same_linear_for_each() -> None:
    invert = inverse((17, 8), (17, 6), "linear")
    assert sum(weights.numel() for weights in invert.parameters()) == 8 * 6 + 6
    tokens = torch.randn(2, 17, 8)
    torch.testing.assert_close(invert(tokens)[:, 3:5], invert(tokens[:, 3:5]))
    assert inverse((17, 8), (16, 6), "linear")(tokens).shape == (2, 16, 6)
