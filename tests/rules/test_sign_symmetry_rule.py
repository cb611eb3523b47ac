"""Sign symmetry: back-propagation but for the magnitudes of the weights on the way back."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.digits import learn_digits
from helpers.tiny_sessions import dense, perceptron, state, train
from test_fa_rule import gradients, lenet
from torch import Tensor, nn

from localrules.auditing.dependence import measure_dependence
from localrules.engine.session import Session
from localrules_backprop.backprop import Backprop
from localrules_feedback.feedback_weights import Init, init_std
from localrules_feedback.sign_symmetry import SignSymmetry

KINDS = ["uniform", "batch-random", "fixed-random"]


def make_feedback(kind: str, weight: Tensor, init: Init = "xavier") -> tuple[SignSymmetry, Tensor]:
    """The rule, and its feedback weights for one operation."""
    rule = SignSymmetry(SignSymmetry.Config(kind=kind, init=init))
    rule.draw("place", weight)
    return rule, rule.feedback("place", weight)


@pytest.mark.parametrize("kind", KINDS)
def test_feedback_weights_share_the_signs_of_the_forward_ones(kind: str) -> None:
    weight = torch.randn(200, 300)
    weight[0] = 0
    before = weight.clone()
    _, feedback = make_feedback(kind, weight)
    assert torch.equal(feedback.sign(), weight.sign())
    assert torch.equal(weight, before)


@pytest.mark.parametrize("init", ["xavier", "kaiming"])
@pytest.mark.parametrize("shape", [(200, 300), (40, 30, 3, 3)])
def test_magnitudes(shape: tuple[int, ...], init: Init) -> None:
    weight = torch.randn(shape)
    module = nn.Linear(300, 200) if len(shape) == 2 else nn.Conv2d(30, 40, 3)
    initial = nn.init.xavier_normal_(weight.clone()) if init == "xavier" else module.weight
    std = init_std(weight, init)
    assert std == pytest.approx(initial.std().item(), rel=0.03)
    assert make_feedback("uniform", weight, init)[1].abs().unique().tolist() == pytest.approx([std])
    for kind in ("batch-random", "fixed-random"):
        found = make_feedback(kind, weight, init)[1]
        assert found.abs().max().item() == pytest.approx(3**0.5 * std, rel=1e-2)
        assert found.square().mean().item() ** 0.5 == pytest.approx(std, rel=0.03)


def test_which_magnitudes_are_drawn_anew() -> None:
    weight = torch.randn(20, 30)
    for kind in KINDS:
        rule, first = make_feedback(kind, weight)
        assert torch.equal(rule.feedback("place", weight), first) == (kind != "batch-random")
        assert torch.equal(rule.feedback("place", -weight), -first) == (kind != "batch-random")
        assert len(list(rule.buffers())) == (kind == "fixed-random")


@pytest.mark.parametrize("network", [perceptron, lenet, dense])
def test_uniform_is_back_propagation_where_all_weights_have_the_magnitude_of_the_feedback(network: Any) -> None:
    sessions = {rule: network(rule) for rule in (SignSymmetry, Backprop)}
    for session in sessions.values():
        with torch.no_grad():
            for weight in session.network.parameters():
                if weight.dim() > 1:
                    weight.copy_(weight.sign() * init_std(weight, "xavier"))
    found, expected = (gradients(session)[0] for session in sessions.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9)


def test_fixed_random_is_back_propagation_where_the_weights_have_its_magnitudes() -> None:
    sessions: list[Session] = [perceptron(SignSymmetry, rule_options={"kind": "fixed-random"}), perceptron(Backprop)]
    magnitudes = dict(sessions[0].rule.named_buffers())
    for session in sessions:
        weights = dict(session.network.model.named_parameters())
        with torch.no_grad():
            for place, name in (("layers/1#0", "layers.1.0"), ("layers/2#0", "layers.2.0"), ("readout#0", "readout")):
                weights[f"{name}.weight"].copy_(weights[f"{name}.weight"].sign() * magnitudes[place])
    found, expected = (gradients(session)[0] for session in sessions)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)


def test_magnitudes_of_a_step_come_from_the_seed() -> None:
    ends = []
    for _ in range(2):
        session = perceptron(SignSymmetry, rule_options={"kind": "batch-random"})
        train(session)
        ends.append(state(session))
    assert all(torch.equal(ends[0][name], tensor) for name, tensor in ends[1].items())


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_stays_finite(kind: str) -> None:
    found, _ = gradients(dense(SignSymmetry, precision="bf16", rule_options={"kind": kind}), double=False)
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())


def test_an_update_depends_on_the_layers_above() -> None:
    found = measure_dependence(lambda: perceptron(SignSymmetry))
    assert found.deterministic
    assert not found.is_local
    assert SignSymmetry.info.locality == "feedback"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_the_digits(kind: str) -> None:
    assert learn_digits(SignSymmetry, rule_options={"kind": kind}) > 0.95
