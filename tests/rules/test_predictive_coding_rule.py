"""Predictive coding: with fixed predictions it is back-propagation; in strict mode it goes down its energy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.digits import learn_digits
from helpers.exhaustive import few
from helpers.one_step import by_autograd, first_batch, gradients_in_double, step_in_double
from helpers.plain_networks import PLAIN
from helpers.tiny_sessions import as_model, dense, perceptron, state, train
from test_hard_batches import HARD, assert_stays_finite

from localrules.auditing.dependence import measure_dependence
from localrules.auditing.locality_class import measure_class
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.mlp import MLP
from localrules_classics.resnet import ResNet20
from localrules_energy.predictive_coding import PredictiveCoding

pytestmark = pytest.mark.slow

MODES: list[dict[str, Any]] = [
    {},
    {"mode": "strict", "iterations": 3},
    {"mode": "error", "iterations": 2},
    {"mode": "incremental", "iterations": 3},
]
CLASSES = ("backprop", "feedback", "backprop", "feedback")


def plain(kind: str) -> Any:
    return lambda rule, **settings: build_session(rule, as_model(PLAIN[kind]), toy_dataset(), **settings)


def resnet(rule: type, **settings: Any) -> Session:
    return build_session(rule, ResNet20, toy_dataset(samples=8), **{"batch_size": 4, **settings})


NETWORKS: dict[str, Any] = {
    "perceptron": perceptron,
    "dense": dense,
    "resnet": resnet,
    **{kind: plain(kind) for kind in PLAIN},
}


@pytest.mark.parametrize("granularity", ["layer", 2])
@pytest.mark.parametrize("kind", NETWORKS)
def test_with_fixed_predictions_and_an_iteration_for_each_hidden_layer_it_is_back_propagation(
    kind: str, granularity: str | int
) -> None:
    found, _ = gradients_in_double(NETWORKS[kind](PredictiveCoding, granularity=granularity))
    expected = by_autograd(NETWORKS[kind](Backprop, granularity=granularity))
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_with_one_iteration_less_the_first_layer_hears_nothing() -> None:
    found, _ = gradients_in_double(perceptron(PredictiveCoding, rule_options={"iterations": 2}))
    expected = by_autograd(perceptron(Backprop))
    assert "layers.0.0.weight" not in found
    torch.testing.assert_close(found["layers.1.0.weight"], expected["layers.1.0.weight"])


@pytest.mark.parametrize("kind", ["perceptron", "norm-first"])
def test_further_iterations_change_nothing(kind: str) -> None:
    enough, _ = gradients_in_double(NETWORKS[kind](PredictiveCoding))
    more, _ = gradients_in_double(NETWORKS[kind](PredictiveCoding, rule_options={"iterations": 40}))
    for name, gradient in enough.items():
        assert torch.equal(more[name], gradient), name


def tiny(mode: str, iterations: int, rate: float, **settings: Any) -> Session:
    options = {"hidden": (5, 4, 3), "norm": False, "activation": "tanh"}
    rule = {"mode": mode, "iterations": iterations, "rate": rate}
    data = toy_dataset(shape=(1, 3, 3))
    return build_session(PredictiveCoding, MLP, data, model_options=options, rule_options=rule, **settings)


NAMES = ["layers.0.0", "layers.1.0", "layers.2.0", "readout"]


def weights_and_biases(session: Session) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Those of the network's operations, in order."""
    weights = {name: weight.detach() for name, weight in session.network.model.named_parameters()}
    return [weights[f"{name}.weight"] for name in NAMES], [weights[f"{name}.bias"] for name in NAMES]


@pytest.mark.parametrize("rate", [0.3, 1.0])
@pytest.mark.parametrize("mode", ["fixed-prediction", "strict"])
def test_against_the_formula_written_out(mode: str, rate: float) -> None:
    """v_l += rate (-e_l + J_{l+1}^T e_{l+1}), dW_l = e_l df_l/dW_l, image by image."""
    session = tiny(mode, 5, rate)
    found, _ = gradients_in_double(session)
    matrices, biases = weights_and_biases(session)
    batch = first_batch(session)
    expected = [torch.zeros_like(matrix) for matrix in matrices]
    for image, label in zip(batch.images.flatten(1), batch.labels, strict=True):
        values = [image]
        for matrix, bias in zip(matrices[:-1], biases[:-1], strict=True):
            values.append(torch.tanh(matrix @ values[-1] + bias))
        at_first = list(values)
        for moves in range(6):
            seen = at_first if mode == "fixed-prediction" else values
            predicted = [torch.tanh(matrices[index] @ seen[index] + biases[index]) for index in range(3)]
            errors = [values[index + 1] - predicted[index] for index in range(3)]
            top = -torch.softmax(matrices[3] @ seen[3] + biases[3], 0)
            top[label] += 1
            # An error at a layer's output, at its pre-activation.
            inside = [error * (1 - guess**2) for error, guess in zip(errors, predicted, strict=True)] + [top]
            if moves < 5:
                values = [image] + [
                    values[index + 1] + rate * (matrices[index + 1].T @ inside[index + 1] - errors[index])
                    for index in range(3)
                ]
        for total, error, before in zip(expected, inside, seen, strict=True):
            total -= torch.outer(error, before) / len(batch.labels)
    for name, matrix in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], matrix)


def test_free_errors_against_the_formula_written_out() -> None:
    """v_l = f_l(v_{l-1}) + e_l, e_l -= rate (e_l + dCE/de_l), dW_l = e_l df_l/dW_l, image by image."""
    rate = 0.3
    session = tiny("error", 3, rate)
    found, _ = gradients_in_double(session)
    matrices, biases = weights_and_biases(session)
    batch = first_batch(session)
    expected = [torch.zeros_like(matrix) for matrix in matrices]
    for image, label in zip(batch.images.flatten(1), batch.labels, strict=True):
        errors = [torch.zeros(len(matrix), dtype=torch.float64) for matrix in matrices[:-1]]
        for moves in range(4):
            values, predicted = [image], []
            for matrix, bias, error in zip(matrices[:-1], biases[:-1], errors, strict=True):
                predicted.append(torch.tanh(matrix @ values[-1] + bias))
                values.append(predicted[-1] + error)
            top = torch.softmax(matrices[3] @ values[3] + biases[3], 0)
            top[label] -= 1
            slope, slopes = matrices[3].T @ top, []
            for index in (2, 1, 0):
                slopes.insert(0, slope)
                slope = matrices[index].T @ (slope * (1 - predicted[index] ** 2))
            if moves < 3:
                errors = [error - rate * (error + slope) for error, slope in zip(errors, slopes, strict=True)]
        inside = [-error * (1 - guess**2) for error, guess in zip(errors, predicted, strict=True)] + [top]
        for total, error, before in zip(expected, inside, values, strict=True):
            total += torch.outer(error, before) / len(batch.labels)
    for name, matrix in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], matrix)


def test_incremental_steps_against_the_formula_written_out() -> None:
    """v_l += rate (-e_l + J_{l+1}^T e_{l+1}) and W_l += lr mean(e_l df_l/dW_l) at once, four times."""
    rate, lr = 0.3, 0.2
    session = tiny("incremental", 4, rate, optimizer={"name": "sgd", "momentum": 0.0, "lr": lr})
    matrices, biases = ([tensor.double().clone() for tensor in each] for each in weights_and_biases(session))
    report = step_in_double(session)
    batch = first_batch(session)
    images, size = batch.images.flatten(1), len(batch.labels)
    values = []
    for image in images:
        chain = [image]
        for matrix, bias in zip(matrices[:-1], biases[:-1], strict=True):
            chain.append(torch.tanh(matrix @ chain[-1] + bias))
        values.append(chain)
    for _ in range(4):
        updates = [
            (torch.zeros_like(matrix), torch.zeros_like(bias)) for matrix, bias in zip(matrices, biases, strict=True)
        ]
        energy = 0.0
        for chain, label in zip(values, batch.labels, strict=True):
            predicted = [torch.tanh(matrices[index] @ chain[index] + biases[index]) for index in range(3)]
            errors = [chain[index + 1] - predicted[index] for index in range(3)]
            top = -torch.softmax(matrices[3] @ chain[3] + biases[3], 0)
            top[label] += 1
            inside = [error * (1 - guess**2) for error, guess in zip(errors, predicted, strict=True)] + [top]
            for (matrix, bias), error, before in zip(updates, inside, chain, strict=True):
                matrix += lr / size * torch.outer(error, before)
                bias += lr / size * error
            energy += float(errors[1].square().sum()) / 2 / size
            for index in range(3):
                chain[index + 1] = chain[index + 1] + rate * (matrices[index + 1].T @ inside[index + 1] - errors[index])
        for index, (matrix, bias) in enumerate(updates):
            matrices[index], biases[index] = matrices[index] + matrix, biases[index] + bias
    assert report.objectives["layers.1"].item() == pytest.approx(energy)
    for found, expected in zip(weights_and_biases(session), (matrices, biases), strict=True):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


def test_incremental_steps_at_the_end_of_the_pass_are_refused() -> None:
    session = tiny("incremental", 2, 0.1, optimizer={"step_timing": "pass"})
    with pytest.raises(UsageError, match="stepped twice"):
        train(session)


@pytest.mark.parametrize("kind", ["perceptron", "dense", "residual"])
def test_one_small_move_of_free_errors_is_back_propagation_rescaled(kind: str) -> None:
    options = {"mode": "error", "iterations": 1, "rate": 1e-5}
    found, _ = gradients_in_double(NETWORKS[kind](PredictiveCoding, rule_options=options))
    session = NETWORKS[kind](Backprop)
    for name, gradient in by_autograd(session).items():
        if not name.startswith(session.network.readout.name):
            torch.testing.assert_close(found[name] / 1e-5, gradient, rtol=1e-3, atol=1e-6)


def test_small_steps_approach_back_propagation() -> None:
    expected = by_autograd(perceptron(Backprop))
    angles = []
    for iterations in (2, 8, 64):
        found, _ = gradients_in_double(
            perceptron(PredictiveCoding, rule_options={"rate": 0.3, "iterations": iterations})
        )
        one, other = (
            torch.cat([gradients.get(name, torch.zeros_like(whole)).flatten() for name, whole in expected.items()])
            for gradients in (found, expected)
        )
        angles.append(float((one - other).norm() / other.norm()))
    assert angles[0] > angles[1] > angles[2]
    assert angles[2] < 1e-6


@pytest.mark.parametrize("options", MODES)
def test_batch_norms_count_a_batch_once(options: dict[str, Any]) -> None:
    sessions = [dense(PredictiveCoding, rule_options=options), dense(Backprop)]
    for session in sessions:
        train_step(session, session.phases[0], 0)
    found, expected = map(state, sessions)
    counted = [name for name in expected if "running" in name or "num_batches" in name]
    assert counted
    for name in counted:
        assert torch.equal(found[name], expected[name]), name


def test_dropout_drops_the_same_units_at_every_evaluation() -> None:
    """Else there would be errors of prediction that no label caused."""
    options = {"hidden": (12, 10), "dropout": 0.5, "norm": False}
    rule = {"mode": "strict", "iterations": 2, "rate": 1e-6}
    session = build_session(PredictiveCoding, MLP, toy_dataset(), model_options=options, rule_options=rule)
    report = train_step(session, session.phases[0], 0).report
    assert all(float(energy) < 1e-9 for energy in report.objectives.values())


def test_a_whole_run_ends_where_back_propagation_does() -> None:
    ends = []
    for rule in (PredictiveCoding, Backprop):
        options = {"hidden": (12, 10, 8), "dropout": 0.3}
        optimizer = {"name": "sgd", "lr": 0.1}
        session = build_session(rule, MLP, toy_dataset(), model_options=options, optimizer=optimizer)
        train(session)
        ends.append(state(session))
    for name, tensor in ends[1].items():
        torch.testing.assert_close(ends[0][name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "measured"), list(zip(MODES, ("backprop", "feedback", "backprop", "feedback"), strict=True))
)
@pytest.mark.parametrize("network", few([perceptron, dense], {"perceptron"}, lambda network: network.__name__))
def test_with_fixed_predictions_it_is_back_propagation_and_else_signals_come_down(
    network: Any, options: dict[str, Any], measured: str
) -> None:
    def build() -> Session:
        return network(PredictiveCoding, rule_options=options)

    dependence = measure_dependence(build)
    assert dependence.deterministic
    assert measure_class(build, dependence) == measured
    assert PredictiveCoding.info.locality == "backprop"


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("case", few(HARD, {"one class", "half precision", "constant images"}))
def test_a_batch_with_nothing_to_learn_from_breaks_nothing(case: str, options: dict[str, Any]) -> None:
    assert_stays_finite(dense(PredictiveCoding, data=HARD[case], rule_options=options))


@pytest.mark.parametrize("options", MODES)
@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"precision": "bf16"}])
def test_little_batches_and_half_precision(settings: dict[str, Any], options: dict[str, Any]) -> None:
    assert_stays_finite(dense(PredictiveCoding, rule_options=options, **settings))


@pytest.mark.parametrize("options", MODES)
def test_layers_that_do_not_learn_stay_as_they_are(options: dict[str, Any]) -> None:
    session = perceptron(PredictiveCoding, rule_options=options, phases="two-phase", steps=4)
    train(session, 0, session.phases[0].stop)
    before = state(session)
    train(session, session.phases[0].stop)
    after = state(session)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"network.readout.weight", "network.readout.bias"}


def test_strict_mode_learns_digits() -> None:
    assert learn_digits(PredictiveCoding, rule_options={"mode": "strict"}, hidden=(64, 64), epochs=4) > 0.93
