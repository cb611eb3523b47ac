"""sigprop against the losses of the authors' code written out, its targets, its prediction, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers.digits import learn_digits
from helpers.exhaustive import few
from helpers.one_layer import make
from helpers.tiny_sessions import DATASET, dense, perceptron, state, train
from test_hard_batches import HARD, assert_stays_finite
from torch import Tensor, nn

from localrules import Batch, Layer, LayerView, UsageError
from localrules.engine.session import Session
from localrules_supervised.sigprop import SigProp

CLASSES = 4
LABELS = torch.tensor([0, 1, 1, 3, 0, 1])  # not every class is there


def made(**options: Any) -> SigProp:
    return make(SigProp, Layer("layer", nn.Identity(), sample_shape=(1, 4, 4)), num_classes=CLASSES, **options)


def view_of(shape: tuple[int, ...], labels: Tensor = LABELS) -> LayerView:
    """A layer's outputs for six images and four targets."""
    draws = torch.Generator().manual_seed(0)
    output = torch.randn(len(labels) + CLASSES, *shape, generator=draws).requires_grad_()
    return LayerView(Layer("layer", nn.Identity()), (), output, Batch(output, labels, CLASSES))


def similarity(one: Tensor, other: Tensor, options: dict[str, Any]) -> float:
    """Of two samples, position by position."""
    a, b = (
        [sample.double().flatten(1).unbind(1) if sample.dim() > 1 else [sample.double()]][0] for sample in (one, other)
    )
    dot = sum(float(x @ y) for x, y in zip(a, b, strict=True))
    if options.get("similarity") == "dot":
        return dot / len(a) / options["temperature"]
    lengths = [math.sqrt(sum(float(x @ x) for x in sample)) for sample in (a, b)]
    return dot / lengths[0] / lengths[1] / options.get("temperature", 0.1)


@pytest.mark.parametrize("shape", [(5,), (3, 2, 4)])
@pytest.mark.parametrize("options", [{}, {"similarity": "dot", "temperature": 1.0}], ids=str)
def test_it_compares_every_image_with_every_image_s_target(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    """Loss v14 of the authors' code: batch x batch similarities, the target in the first column of an image's class."""
    view = view_of(shape)
    samples = view.output.detach()
    total = 0.0
    for i, label in enumerate(LABELS.tolist()):
        columns = [similarity(samples[i], samples[6 + other], options) for other in LABELS.tolist()]
        norm = math.log(sum(math.exp(column) for column in columns))
        total -= (columns[LABELS.tolist().index(label)] - norm) / 6
    assert made(**options)(view).item() == pytest.approx(total, rel=1e-4)


def test_balanced_counts_every_class_once() -> None:
    view = view_of((5,))
    samples = view.output.detach()
    logits = torch.tensor([[similarity(sample, target, {}) for target in samples[6:]] for sample in samples[:6]])
    expected = nn.functional.cross_entropy(logits, LABELS)
    torch.testing.assert_close(made(balanced=True)(view), expected, rtol=1e-4, atol=1e-5)


def test_images_and_targets_of_classes_in_the_batch_both_have_gradients() -> None:
    view = view_of((5,))
    made()(view).backward()
    moved = view.output.grad.abs().sum(1) > 0
    assert moved.tolist() == [True] * 6 + [True, True, False, True]


def test_the_network_s_inputs_are_the_images_and_then_a_target_for_each_class() -> None:
    objective = made()
    images = torch.randn(3, 1, 4, 4)
    inputs = objective.make_inputs(Batch(images, torch.tensor([0, 1, 2]), CLASSES))
    assert torch.equal(inputs[:3], images)
    assert torch.equal(inputs[3:], objective.targets)
    assert objective.targets.shape == (CLASSES, 1, 4, 4)


def first_objective(session: Session) -> SigProp:
    return next(iter(session.rule.objectives.values()))


def test_targets_are_fixed_drawn_by_the_seed_and_saved() -> None:
    first, again, other = (perceptron(SigProp, seed=seed) for seed in (0, 0, 1))
    targets = [first_objective(session).targets.clone() for session in (first, again, other)]
    assert torch.equal(targets[0], targets[1])
    assert not torch.equal(targets[0], targets[2])
    train(first)
    assert torch.equal(first_objective(first).targets, targets[0])
    assert [name for name in first.rule.state_dict() if "targets" in name] == ["objectives.layers/0#0.targets"]


def test_images_of_another_size_than_the_first_are_refused() -> None:
    with pytest.raises(UsageError, match="'sigprop' cannot learn from samples of this shape"):
        made().make_inputs(Batch(torch.zeros(2, 1, 5, 5), torch.tensor([0, 1]), CLASSES))


@pytest.mark.parametrize("answer", ["last", "all"])
def test_the_prediction_is_the_class_of_the_most_similar_target(answer: str) -> None:
    session = perceptron(SigProp, rule_options={"answer": answer})
    train(session)
    images = session.batches.batch(0).images[:5]
    objective = first_objective(session)
    with session.predictor.eval_mode():
        found = session.rule.predict(session.network, images)
        torch.testing.assert_close(session.rule.predict(session.network, images[2:3]), found[2:3])
        features, targets = images.flatten(1), objective.targets.flatten(1)
        expected = torch.zeros(5, CLASSES)
        for index, layer in enumerate(session.network.model.layers):
            features, targets = layer(features), layer(targets)
            if answer == "all" or index == 2:
                expected += torch.cosine_similarity(features[:, None], targets, dim=2) / 0.1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_readout_does_not_learn() -> None:
    session = perceptron(SigProp)
    before = state(session)
    train(session)
    assert not any(
        "readout" in name and not torch.equal(tensor, before[name]) for name, tensor in state(session).items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"preset": "paper"}], ids=str)
@pytest.mark.parametrize("case", HARD)
def test_hard_batches_break_nothing(case: str, options: dict[str, Any]) -> None:
    assert_stays_finite(dense(SigProp, data=HARD[case], rule_options=options))


@pytest.mark.parametrize("settings", [{"batch_size": 2}, {"precision": "bf16"}], ids=str)
def test_small_batches_and_half_precision(settings: dict[str, Any]) -> None:
    assert_stays_finite(perceptron(SigProp, data=DATASET, **settings))


@pytest.mark.slow
@pytest.mark.parametrize("options", few([{}, {"preset": "paper"}, {"balanced": True}], {"{}"}))
def test_it_learns_digits(options: dict[str, Any]) -> None:
    assert learn_digits(SigProp, rule_options=options) > 0.93
