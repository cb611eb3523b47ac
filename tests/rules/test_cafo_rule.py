"""cafo against numpy's least squares on the same features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.digits import digits_session, learn_digits
from helpers.tiny_sessions import dense, perceptron, state, train

from localrules.auditing.dependence import measure_dependence
from localrules.core.interception import intercept_layers
from localrules.core.nn.pooling import pool_flat
from localrules.data.dataset import Dataset, Split
from localrules.engine.session import Session
from localrules.testing.conformance.sessions import toy_dataset
from localrules_closed_form.cafo import CaFo
from localrules_closed_form.least_squares import LeastSquares


def least_squares(features: np.ndarray, labels: np.ndarray, classes: int, ridge: float) -> np.ndarray:
    """The same regression by numpy: the ridge as further samples, one per feature but the bias."""
    inputs = np.hstack([features, np.ones((len(features), 1))])
    penalty = np.sqrt(ridge * (features**2).sum(0).mean()) * np.eye(inputs.shape[1])[:-1]
    wanted = np.vstack([np.eye(classes)[labels], np.zeros((len(penalty), classes))])
    return np.linalg.lstsq(np.vstack([inputs, penalty]), wanted, rcond=None)[0]


@pytest.mark.parametrize("ridge", [1e-9, 1e-3, 1.0])
def test_sums_of_batches_are_solved_as_numpy_solves_all_samples_at_once(ridge: float) -> None:
    draws = torch.Generator().manual_seed(0)
    features = torch.randn(300, 20, generator=draws, dtype=torch.float64) * torch.linspace(0.1, 3, 20) + 0.5
    labels = torch.randint(0, 4, (300,), generator=draws)
    predictor = LeastSquares(20, 4, ridge)
    for start in range(0, 300, 50):
        predictor.add(features[start : start + 50], labels[start : start + 50])
        predictor(features)  # an answer in between changes nothing
    expected = least_squares(features.numpy(), labels.numpy(), 4, ridge)
    np.testing.assert_allclose(predictor.solution.numpy(), expected, rtol=1e-7, atol=1e-10)


def seen(session: Session, images: torch.Tensor) -> list[torch.Tensor]:
    """Outputs of the hidden layers, in training mode."""
    found = []

    def visit(layer: Any, forward: Any, args: Any, kwargs: Any) -> Any:
        output = forward(*args, **kwargs)
        found.append(output)
        return output

    with torch.no_grad(), intercept_layers(session.network.hidden, visit):
        session.network(images)
    return found


@pytest.mark.parametrize("network", [dense, perceptron])
def test_each_layers_predictor_is_the_ridge_regression_on_all_batches_so_far(network: Any) -> None:
    session, twin = network(CaFo, batch_size=32), network(CaFo, batch_size=32)
    train(session, 0, 3)
    twin.network.train()
    batches = [twin.batches.batch(step) for step in range(3)]
    outputs = [seen(twin, batch.images) for batch in batches]
    labels = torch.cat([batch.labels for batch in batches]).numpy()
    for index, layer in enumerate(session.network.hidden):
        features = torch.cat([pool_flat(given[index], 8) for given in outputs]).double().numpy()
        (key,) = [key for key in session.rule.predictors if key.startswith(layer.name.replace(".", "/") + "#")]
        expected = least_squares(features, labels, 4, 1e-3)
        np.testing.assert_allclose(session.rule.predictors[key].solution.numpy(), expected, rtol=1e-6, atol=1e-9)


def test_the_answer_is_the_sum_over_layers_of_the_softmax_of_each_predictor() -> None:
    session = perceptron(CaFo)
    train(session)
    images = session.batches.batch(0).images
    with session.predictor.eval_mode():
        found = session.rule.predict(session.network, images)
        votes = torch.zeros_like(found)
        features = images.flatten(1)
        for index, layer in enumerate(session.network.model.layers):
            features = layer(features)
            weights = session.rule.predictors[f"layers/{index}#0"].solution.float()
            votes += (features @ weights[:-1] + weights[-1]).softmax(1)
    torch.testing.assert_close(found.exp(), votes)


@pytest.mark.parametrize("predictor", ["mse", "ce"])
@pytest.mark.parametrize("network", [dense, perceptron])
def test_no_weight_of_the_network_moves(network: Any, predictor: str) -> None:
    session = network(CaFo, rule_options={"predictor": predictor})
    before = {name: weight.clone() for name, weight in session.network.model.named_parameters()}
    train(session)
    for name, weight in session.network.model.named_parameters():
        assert torch.equal(weight, before[name]), name


def test_the_grid_is_coarser_until_the_features_fit() -> None:
    session = dense(CaFo, rule_options={"features": 40, "grid": 4})
    for predictor in session.rule.predictors.values():
        assert len(predictor.products) <= 40 + 1


@pytest.mark.parametrize("predictor", ["mse", "ce"])
def test_a_run_that_is_resumed_has_the_same_sums(tmp_path: Path, predictor: str) -> None:
    whole, first, second = (perceptron(CaFo, rule_options={"predictor": predictor}) for _ in range(3))
    train(whole)
    train(first, 0, 3)
    torch.save(
        (first.network.model.state_dict(), first.rule.state_dict(), first.optimizers.state_dict()), tmp_path / "x"
    )
    network, rule, optimizers = torch.load(tmp_path / "x", weights_only=True)
    second.network.model.load_state_dict(network)
    second.rule.load_state_dict(rule)
    second.optimizers.load_state_dict(optimizers)
    train(second, 3)
    for name, tensor in state(whole).items():
        assert torch.equal(tensor, state(second)[name]), name
    split = whole.data.split("valid")
    assert torch.equal(whole.predictor.scores(split).logits, second.predictor.scores(split).logits)


def test_a_rule_that_has_predicted_predicts_by_the_sums_that_it_loads() -> None:
    one, other = perceptron(CaFo), perceptron(CaFo, data=toy_dataset(seed=1))
    images = torch.randn(5, 1, 16, 16)
    for session in (one, other):
        train(session)
        session.network.eval()
        session.rule.predict(session.network, images)
    one.network.load_state_dict(other.network.state_dict())
    one.rule.load_state_dict(other.rule.state_dict())
    assert torch.equal(one.rule.predict(one.network, images), other.rule.predict(other.network, images))


def test_all_classes_have_equal_scores_before_the_first_step() -> None:
    scores = perceptron(CaFo).predictor.scores(toy_dataset().split("valid"))
    assert torch.equal(scores.logits, scores.logits[:, :1].expand_as(scores.logits))


@pytest.mark.parametrize("value", [0, 77])
def test_constant_images_of_one_class_are_solved_too(value: int) -> None:
    given = toy_dataset()
    images = torch.full_like(given.split("train").images, value)
    flat = Split(images, torch.ones(len(images), dtype=torch.int64))
    data = Dataset("flat", given.classes, {"train": flat, "valid": flat}, "made up", "flat", redistributable=True)
    session = perceptron(CaFo, data=data)
    train(session)
    assert session.predictor.scores(data.split("valid")).top1 == 1


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"precision": "bf16"}], ids=["two images", "bf16"])
@pytest.mark.parametrize("predictor", ["mse", "ce"])
def test_hard_batches_stay_finite(predictor: str, settings: dict[str, Any]) -> None:
    session = dense(CaFo, rule_options={"predictor": predictor}, **settings)
    train(session)
    assert bool(session.predictor.scores(session.data.split("valid")).logits.isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("predictor", ["mse", "ce"])
@pytest.mark.parametrize("network", [dense, perceptron])
def test_no_layer_feels_another(network: Any, predictor: str) -> None:
    assert measure_dependence(lambda: network(CaFo, rule_options={"predictor": predictor})).is_local


def test_learns_the_digits_in_one_epoch_by_solving() -> None:
    assert learn_digits(CaFo, epochs=1) > 0.93


def test_learns_the_digits_by_descending() -> None:
    assert learn_digits(CaFo, rule_options={"predictor": "ce"}) > 0.9


def test_predictors_count_their_samples() -> None:
    session = digits_session(CaFo, epochs=1)
    train(session)
    assert {int(predictor.samples) for predictor in session.rule.predictors.values()} == {64 * session.total_steps}
