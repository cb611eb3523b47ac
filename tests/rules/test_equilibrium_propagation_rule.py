"""Equilibrium propagation: its dynamics, its contrast, and the theorem that the contrast is a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.digits import learn_digits
from helpers.one_step import first_batch, gradients_in_double
from helpers.plain_networks import sequential
from helpers.tiny_sessions import as_model, dense, perceptron
from test_hard_batches import HARD, assert_stays_finite
from torch import Tensor, nn
from torch.nn import functional

from localrules.auditing.dependence import measure_dependence
from localrules.auditing.locality_class import measure_class
from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_classics.lenet import LeNet
from localrules_classics.mlp import MLP
from localrules_classics.resnet import ResNet20
from localrules_energy.equilibrium_propagation import EquilibriumPropagation

HIDDEN = (7, 6, 5)


def tiny(**rule_options: Any) -> Session:
    data = toy_dataset(shape=(1, 3, 3))
    return build_session(EquilibriumPropagation, MLP, data, model_options={"hidden": HIDDEN}, rule_options=rule_options)


def lenet(rule: type = EquilibriumPropagation, **settings: Any) -> Session:
    return build_session(rule, LeNet, toy_dataset(), **settings)


def convolutions(classes: int = 4) -> nn.Sequential:
    """Activations of several kinds: the states' is the hard sigmoid all the same."""
    return nn.Sequential(
        *(nn.Conv2d(1, 3, 3), nn.Hardtanh(0.0, 1.0), nn.MaxPool2d(2)),
        *(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(16, 6), nn.ReLU(inplace=True)),
        nn.Linear(6, classes),
    )


def convolutional(**rule_options: Any) -> Session:
    return build_session(EquilibriumPropagation, as_model(convolutions), toy_dataset(), rule_options=rule_options)


def named(session: Session) -> dict[str, Tensor]:
    return dict(session.network.model.named_parameters())


def one_after_the_other(weights: dict[str, Tensor]) -> list[Tensor]:
    """Matrices and biases of an mlp, in order."""
    names = [*(f"layers.{index}.0" for index in range(len(HIDDEN))), "readout"]
    return [weights[f"{name}.{kind}"] for name in names for kind in ("weight", "bias")]


def settled_by_hand(
    weights: list[Tensor], image: Tensor, states: list[Tensor], steps: int, label: int = 0, beta: float = 0.0
) -> list[Tensor]:
    """s_l <- clip(W_l s_{l-1} + b_l + W_{l+1}^T s_{l+1}), the topmost nudged by -beta W^T (softmax - label)."""
    matrices, biases = weights[::2], weights[1::2]
    for _ in range(steps):
        error = torch.softmax(matrices[-1] @ states[-1] + biases[-1], 0)
        error[label] -= 1
        above = [*states[1:], -beta * error]
        below = [image, *states[:-1]]
        states = [
            (matrices[index] @ below[index] + biases[index] + matrices[index + 1].T @ above[index]).clamp(0, 1)
            for index in range(len(states))
        ]
    return states


@pytest.mark.parametrize("nudges", ["symmetric", "one-sided"])
def test_against_the_formula_written_out(nudges: str) -> None:
    """Image by image: dW_l = (s_l s_{l-1}^T at beta - s_l s_{l-1}^T at the other) / distance of the betas."""
    session = tiny(nudges=nudges, beta=0.3, free_steps=7, nudged_steps=4)
    found, report = gradients_in_double(session)
    weights = [weight.detach() for weight in one_after_the_other(named(session))]
    batch = first_batch(session)
    expected = [torch.zeros_like(matrix) for matrix in weights[::2]]
    for sample, (image, label) in enumerate(zip(batch.images.flatten(1), batch.labels.tolist(), strict=True)):
        zero = [image.new_zeros(units) for units in HIDDEN]
        free = settled_by_hand(weights, image, zero, 7)
        torch.testing.assert_close(report.logits[sample], weights[-2] @ free[-1] + weights[-1])
        betas = (0.3, -0.3) if nudges == "symmetric" else (0.3, 0.0)
        for beta, sign in zip(betas, (1, -1), strict=True):
            states = settled_by_hand(weights, image, free, 4, label, beta) if beta else free
            error = torch.softmax(weights[-2] @ states[-1] + weights[-1], 0)
            error[label] -= 1
            for total, state, below in zip(
                expected, [*states, -beta * error], [image, *states], strict=True
            ):  # the readout's part of Phi is the nudge
                total -= sign * torch.outer(state, below) / (betas[0] - betas[1]) / len(batch.labels)
    names = [*(f"layers.{index}.0" for index in range(3)), "readout"]
    for name, gradient in zip(names, expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], gradient, msg=lambda text, name=name: f"{name}: {text}")


def by_settling(session: Session, steps: int = 60) -> dict[str, Tensor]:
    """The gradient of the cross-entropy at the free equilibrium, back through all of the settling."""
    network = session.network.model.double()
    batch = first_batch(session)
    x = batch.images
    if isinstance(network, MLP):
        parts = [lambda s, layer=layer: layer[0](s) for layer in network.layers]
        top, x = network.readout, x.flatten(1)
    else:
        net = network.net
        parts = [lambda s: net[2](net[0](s)), lambda s: net[5](net[3](s)), lambda s: net[7](s.flatten(1))]
        top = net[9]
    states, reads = [], x
    for part in parts:
        states.append(torch.zeros_like(part(reads)).requires_grad_())
        reads = states[-1]
    for _ in range(steps):
        phi = sum((state * part(below)).sum() for state, part, below in zip(states, parts, [x, *states], strict=False))
        states = [pull.clamp(0, 1) for pull in torch.autograd.grad(phi, states, create_graph=True)]
    loss = functional.cross_entropy(top(states[-1]), batch.labels)
    weights = named(session)
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("build", [tiny, convolutional])
@pytest.mark.parametrize("nudges", ["symmetric", "one-sided", "random-sign"])
def test_with_a_small_nudge_it_is_the_gradient_at_the_free_equilibrium(build: Any, nudges: str) -> None:
    session = build(nudges=nudges, beta=1e-4, free_steps=60, nudged_steps=60)
    found, _ = gradients_in_double(session)
    expected = by_settling(build())
    assert all(float(gradient.abs().max()) > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        cosine = functional.cosine_similarity(found[name].flatten(), gradient.flatten(), 0)
        assert cosine > 0.9999, name
        torch.testing.assert_close(found[name].norm(), gradient.norm(), rtol=1e-2, atol=0)


def test_nudging_to_both_sides_errs_less() -> None:
    expected = by_settling(tiny())
    wrong = {}
    for nudges in ("symmetric", "one-sided"):
        found, _ = gradients_in_double(tiny(nudges=nudges, beta=0.01, free_steps=60, nudged_steps=60))
        wrong[nudges] = sum(float((found[name] - gradient).square().sum()) for name, gradient in expected.items())
    assert wrong["symmetric"] < wrong["one-sided"] / 100


def test_the_sign_of_the_nudge_is_drawn_anew() -> None:
    rule = EquilibriumPropagation(EquilibriumPropagation.Config(nudges="random-sign", beta=0.5))
    torch.manual_seed(0)
    drawn = {tuple(rule._nudges()) for _ in range(20)}
    assert drawn == {((0.0, -2.0), (0.5, 2.0)), ((0.0, 2.0), (-0.5, -2.0))}


def test_an_image_is_classified_by_its_free_state() -> None:
    session = tiny()
    _, report = gradients_in_double(session)
    with session.predictor.eval_mode():
        assert torch.equal(session.rule.predict(session.network, first_batch(session).images), report.logits)


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (dense, "sequential"),
        (lambda rule: build_session(rule, as_model(sequential), toy_dataset()), "without normalisation"),
        (
            lambda rule: build_session(rule, ResNet20, toy_dataset(), granularity="block"),
            "one weight-bearing operation each",
        ),
    ],
)
def test_networks_that_it_cannot_settle_are_refused_before_any_work(build: Any, why: str) -> None:
    with pytest.raises(UsageError, match="cannot train") as found:
        build(EquilibriumPropagation)
    assert why in found.value.why


@pytest.mark.slow
def test_signals_come_down_from_layer_to_layer() -> None:
    dependence = measure_dependence(tiny)
    assert dependence.deterministic
    assert measure_class(tiny, dependence) == EquilibriumPropagation.info.locality == "feedback"


@pytest.mark.slow
@pytest.mark.parametrize("case", HARD)
def test_a_batch_with_nothing_to_learn_from_breaks_nothing(case: str) -> None:
    assert_stays_finite(perceptron(EquilibriumPropagation, data=HARD[case]))


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"precision": "bf16"}])
@pytest.mark.parametrize("network", [perceptron, lenet])
def test_little_batches_and_half_precision(network: Any, settings: dict[str, Any]) -> None:
    assert_stays_finite(network(EquilibriumPropagation, rule_options={"free_steps": 6, "nudged_steps": 3}, **settings))


@pytest.mark.slow
def test_it_learns_digits() -> None:
    options = {"free_steps": 10, "nudged_steps": 6}  # enough for two layers
    assert learn_digits(EquilibriumPropagation, rule_options=options, hidden=(64, 64), epochs=5) > 0.92
