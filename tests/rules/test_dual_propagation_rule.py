"""Dual propagation: two states a unit, whose difference over beta is the error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.one_step import by_autograd, first_batch, gradients_in_double
from torch import Tensor
from torch.nn import functional

from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.lenet import LeNet
from localrules_classics.mlp import MLP
from localrules_energy.dual_propagation import DualPropagation

NAMES = ("layers.0.0", "layers.1.0", "readout")


def small(rule: type = DualPropagation, activation: str = "relu", **options: Any) -> Session:
    return build_session(
        rule,
        MLP,
        toy_dataset(shape=(1, 3, 3)),
        rule_options=options,
        model_options={"hidden": (5, 4), "norm": False, "activation": activation},
    )


def weights_of(session: Session, kind: str) -> list[Tensor]:
    named = dict(session.network.model.named_parameters())
    return [named[f"{name}.{kind}"].detach().double() for name in NAMES]


@pytest.mark.parametrize(("alpha", "passes"), [(0.5, 1), (0.2, 3)])
def test_against_the_formula_written_out(alpha: float, passes: int) -> None:
    beta = 0.7
    session = small(alpha=alpha, beta=beta, passes=passes)
    matrices, biases = weights_of(session, "weight"), weights_of(session, "bias")
    found, report = gradients_in_double(session)
    batch = first_batch(session)
    size = len(batch.labels)
    expected = [torch.zeros_like(matrix) for matrix in matrices]
    square = 0.0
    for image, label in zip(batch.images.flatten(1), batch.labels, strict=True):
        first = torch.relu(matrices[0] @ image + biases[0])
        second = torch.relu(matrices[1] @ first + biases[1])
        error = torch.softmax(matrices[2] @ second + biases[2], 0)
        error[label] -= 1
        top = -beta * error
        for _ in range(passes):
            below_first, below_second = matrices[0] @ image + biases[0], matrices[1] @ first + biases[1]
            back = matrices[2].T @ top
            plus, minus = torch.relu(below_second + (1 - alpha) * back), torch.relu(below_second - alpha * back)
            second, apart_second = alpha * plus + (1 - alpha) * minus, plus - minus
            back = matrices[1].T @ apart_second
            plus, minus = torch.relu(below_first + (1 - alpha) * back), torch.relu(below_first - alpha * back)
            first, apart_first = alpha * plus + (1 - alpha) * minus, plus - minus
        square += float(apart_first.square().sum()) / (2 * beta**2 * size)
        for total, apart, before in zip(
            expected, (apart_first, apart_second, top), (image, first, second), strict=True
        ):
            total -= torch.outer(apart, before) / (beta * size)
    assert report.objectives["layers.0"].item() == pytest.approx(square)
    for name, gradient in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], gradient)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("network", [MLP, LeNet])
def test_with_a_small_nudge_it_is_back_propagation(network: type, alpha: float) -> None:
    shape, options = ((1, 3, 3), {"hidden": (5, 4)}) if network is MLP else ((1, 16, 16), {})
    built = {"data": toy_dataset(shape=shape), "model_options": options | {"norm": False}}
    found, _ = gradients_in_double(
        build_session(DualPropagation, network, rule_options={"alpha": alpha, "beta": 1e-7}, **built)
    )
    expected = by_autograd(build_session(Backprop, network, **built))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("pooling", ["max", "average"])
def test_what_is_trained_is_what_predicts(pooling: str) -> None:
    options = {"pooling": pooling, "norm": False}
    data = toy_dataset(shape=(1, 16, 16))
    session = build_session(DualPropagation, LeNet, data, rule_options={"beta": 1e-7}, model_options=options)
    found, report = gradients_in_double(session)
    images, labels = (part := first_batch(session)).images, part.labels
    assert report.logits is not None
    torch.testing.assert_close(session.rule.predict(session.network, images), report.logits)
    same_as_module = torch.allclose(session.network(images), report.logits)
    assert same_as_module == (pooling == "max")
    session.network.zero_grad()
    functional.cross_entropy(session.rule.predict(session.network, images), labels).backward()
    for name, parameter in session.network.model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-5, atol=1e-7)


def test_without_kinks_it_is_back_propagation_whatever_the_nudge() -> None:
    sessions = [
        small(rule, **options) for rule, options in ((DualPropagation, {"alpha": 0.3, "beta": 5.0}), (Backprop, {}))
    ]
    for session in sessions:
        with torch.no_grad():  # all units far on the linear side
            for index in (0, 1):
                session.network.model.layers[index][0].bias.fill_(100.0)
    found, _ = gradients_in_double(sessions[0])
    for name, gradient in by_autograd(sessions[1]).items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9)


def test_networks_with_norms_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot train") as caught:
        build_session(DualPropagation, MLP, toy_dataset(), model_options={"hidden": (5, 4), "norm": True})
    assert "without normalisation" in caught.value.why
