"""forward-forward against its formula in loops, its inputs, its prediction, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.digits import learn_digits
from helpers.tiny_sessions import DATASET, dense, perceptron, state, train
from test_hard_batches import HARD, assert_stays_finite
from torch import Tensor, nn

from localrules import Batch, Layer, LayerView, Learner
from localrules.errors import UsageError
from localrules_forward.forward_forward import ForwardForward, embed_as_waves, embed_in_pixels

CLASSES = 4


def make_objective(shape: tuple[int, ...] = (5,), **options: Any) -> ForwardForward:
    layer = Layer("layer", nn.Identity(), sample_shape=(1, 4, 4), out_shapes=(shape,))
    return ForwardForward(ForwardForward.Config(**options), layer, CLASSES).double()


def view_of(objective: ForwardForward, seed: int = 0) -> LayerView:
    """Three images with their labels and with wrong ones."""
    draws = torch.Generator().manual_seed(seed)
    output = torch.randn(6, *objective.layer.out_shape, generator=draws, dtype=torch.float64).relu().requires_grad_()
    batch = Batch(torch.zeros(3, 1, 4, 4), torch.tensor([0, 1, 2]), CLASSES)
    return LayerView(objective.layer, (), output, batch)


def slow_goodness(output: Tensor, goodness: str, threshold: float) -> float:
    """Goodness of one image at one layer, less the threshold: a loop over positions and units."""
    units = output.flatten(1) if output.dim() > 1 else output[:, None]
    total = 0.0
    for position in range(units.shape[1]):
        squares = sum(float(value) ** 2 for value in units[:, position])
        total += squares - threshold * len(units) if goodness == "sum" else squares / len(units) - threshold
    return total / units.shape[1]


@pytest.mark.parametrize("shape", [(5,), (3, 4, 2)])
@pytest.mark.parametrize("options", [{}, {"goodness": "mean", "threshold": 2.0}, {"threshold": 0.3}], ids=str)
def test_the_loss_is_that_of_a_logistic_regression_on_goodness(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    objective = make_objective(shape, **options)
    view = view_of(objective)
    config = objective.config
    expected = 0.0
    for index, output in enumerate(view.output.detach()):
        goodness = slow_goodness(output, config.goodness, config.threshold)
        expected += math.log(1 + math.exp(-goodness if index < 3 else goodness)) / 6
    assert objective(view)["goodness"].item() == pytest.approx(expected, rel=1e-5)


def test_peers_are_compared_by_their_mean_activity_for_right_labels_over_the_steps() -> None:
    objective = make_objective((3, 2, 2), peer=0.5, momentum=0.8)
    view = view_of(objective)
    means = [0.5] * 3
    for _ in range(2):
        found = objective(view)["peers"]
        now = [float(view.output[:3, unit].detach().mean()) for unit in range(3)]
        means = [0.8 * mean + 0.2 * fresh for mean, fresh in zip(means, now, strict=True)]
        middle = sum(means) / 3
        assert found.item() == pytest.approx(0.5 * sum((mean - middle) ** 2 for mean in means) / 3, rel=1e-5)
    (gradient,) = torch.autograd.grad(found, view.output)
    assert gradient[:3].abs().sum() > 0
    assert gradient[3:].abs().sum() == 0


def test_peers_may_be_left_alone() -> None:
    objective = make_objective(peer=0)
    assert not list(objective.buffers())
    assert set(objective(view_of(objective))) == {"goodness"}


def test_the_inputs_are_each_image_with_its_own_label_and_with_another() -> None:
    objective = make_objective(label="pixels", strength=2.0)
    images = torch.randn(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(200) % CLASSES
    torch.manual_seed(3)
    inputs = objective.make_inputs(Batch(images, labels, CLASSES))
    codes = inputs.flatten(1)[:, :CLASSES]
    assert torch.equal(codes[:200].argmax(1), labels)
    wrong = codes[200:].argmax(1)
    assert not (wrong == labels).any()
    assert len(set(zip(labels.tolist(), wrong.tolist(), strict=True))) == CLASSES * (CLASSES - 1)
    torch.testing.assert_close(inputs.square().mean((1, 2, 3)), torch.ones(400))
    expected = embed_in_pixels(images, labels, CLASSES, 2.0)
    torch.testing.assert_close(inputs[:200], expected / expected.square().mean((1, 2, 3), keepdim=True).sqrt())


def test_a_label_embed_in_pixels_is_a_one_hot_code_and_leaves_the_rest() -> None:
    images = torch.randn(2, 1, 3, 3)
    found = embed_in_pixels(images, torch.tensor([2, 0]), CLASSES, 3.0).flatten(1)
    assert found[:, :CLASSES].tolist() == [[0, 0, 3, 0], [3, 0, 0, 0]]
    assert torch.equal(found[:, CLASSES:], images.flatten(1)[:, CLASSES:])


def test_a_label_as_a_wave_is_at_every_position_and_separates_classes() -> None:
    images = torch.zeros(CLASSES, 2, 16, 16)
    waves = embed_as_waves(images, torch.arange(CLASSES), CLASSES, 3.0, 6.0)
    assert torch.equal(waves[:, 0], waves[:, 1])
    assert waves[1, 0, 3, 5].item() == pytest.approx(
        3 * math.cos(2 * math.pi / 6 * (5 * math.cos(math.pi / 4) + 3 * math.sin(math.pi / 4))), abs=1e-4
    )
    for corner in (waves[:, :, :8, :8], waves[:, :, 8:, 8:]):
        patterns = nn.functional.normalize(corner.flatten(1))
        assert (patterns @ patterns.T - torch.eye(CLASSES)).abs().max() < 0.5


@pytest.mark.parametrize(("network", "label"), [(perceptron, "pixels"), (dense, "waves")])
def test_the_embedding_of_the_label_suits_the_first_layer(network: Any, label: str) -> None:
    labels = {objective.label_embedding for objective in network(ForwardForward).rule.objectives.values()}
    assert labels == {label}


def test_readers_get_a_direction_that_does_not_depend_on_goodness() -> None:
    transform = make_objective((2, 4, 4)).transform_output
    output = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(transform(output), transform(output * 7))
    assert transform(torch.zeros(3, 5)).abs().max() == 0
    assert transform(output.bfloat16()).dtype == torch.bfloat16


def test_transformed_outputs_may_have_length_one() -> None:
    output = torch.randn(3, 2, 4, 4)
    found = make_objective((2, 4, 4), size="length").transform_output(output)
    torch.testing.assert_close(found, output / output.flatten(1).norm(dim=1).view(3, 1, 1, 1))


@pytest.mark.parametrize("options", [{}, {"preset": "paper"}], ids=str)
def test_the_prediction_is_the_label_with_the_highest_goodness_over_layers(options: dict[str, Any]) -> None:
    session = perceptron(ForwardForward, rule_options=options)
    strength = 3.0 if options else 0.5 * 16  # images of 16 x 16
    train(session)
    images = session.batches.batch(0).images[:5]
    with session.predictor.eval_mode():
        found = session.rule.predict(session.network, images)
        alone = session.rule.predict(session.network, images[2:3])
    torch.testing.assert_close(found[2:3], alone)
    for label in range(CLASSES):
        features = embed_in_pixels(images, torch.full((5,), label), CLASSES, strength).flatten(1)
        total = torch.zeros(5)
        for index, layer in enumerate(session.network.model.layers):
            features = layer(features / features.square().mean(1, keepdim=True).sqrt().clamp(min=1e-8)).detach()
            goodness = features.square().mean(1) - 1
            total += goodness * features.shape[1] * (index > 0) if options else goodness
        torch.testing.assert_close(found[:, label], total, rtol=1e-4, atol=1e-4)


def test_the_readout_does_not_learn() -> None:
    session = perceptron(ForwardForward)
    before = state(session)
    train(session)
    moved = {name for name, tensor in state(session).items() if not torch.equal(tensor, before[name])}
    assert not any("readout" in name for name in moved)
    assert any("layers.0" in name for name in moved)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"preset": "mean"}], ids=str)
@pytest.mark.parametrize("case", HARD)
def test_hard_batches_break_nothing(case: str, options: dict[str, Any]) -> None:
    assert_stays_finite(dense(ForwardForward, data=HARD[case], rule_options=options))


@pytest.mark.parametrize("settings", [{"batch_size": 1}, {"precision": "bf16"}], ids=str)
def test_small_batches_and_half_precision(settings: dict[str, Any]) -> None:
    assert_stays_finite(perceptron(ForwardForward, data=DATASET, **settings))


@pytest.mark.slow
@pytest.mark.parametrize(("options", "bound"), [({}, 0.9), ({"preset": "mean", "size": "rms"}, 0.85)], ids=str)
def test_it_learns_digits(options: dict[str, Any], bound: float) -> None:
    """Pezeshki's threshold of 2 is reached more slowly, and with inputs of length 1 not in seconds."""
    assert learn_digits(ForwardForward, rule_options=options) > bound


def tokens_network() -> nn.Sequential:
    """Tokens, which objectives see as feature maps, of an input without height and width."""
    torch.manual_seed(0)
    attention = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    return nn.Sequential(nn.Linear(4, 8), attention, nn.Flatten(), nn.Linear(40, CLASSES))


def test_the_label_is_in_the_first_values_of_inputs_without_height_and_width() -> None:
    inputs = torch.randn(6, 5, 4)
    learner = Learner(tokens_network(), "forward-forward", example=inputs, num_classes=CLASSES, layers=["0", "1", "3"])
    report = learner.step(inputs, torch.arange(6) % CLASSES)
    assert all(bool(value.isfinite()) for value in report.objectives.values())
    assert learner.predict(inputs).shape == (6, CLASSES)


def test_waves_are_refused_for_inputs_without_height_and_width() -> None:
    options = {"example": torch.randn(6, 5, 4), "num_classes": CLASSES, "layers": ["0", "1", "3"]}
    with pytest.raises(UsageError, match="labels cannot be embedded as waves"):
        Learner(tokens_network(), "forward-forward", config={"label": "waves"}, **options)
