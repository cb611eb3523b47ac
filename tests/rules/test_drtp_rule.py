"""Direct random target projection: every layer gets the label."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_sessions import dense, perceptron, train
from test_fa_rule import gradients

from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_classics.mlp import MLP
from localrules_feedback.drtp import DirectRandomTargetProjection


def test_against_the_formula_written_out() -> None:
    """delta_l = -(B_l y*) * phi' / batch: direct feedback alignment's with ``y - y*`` less its ``y``."""
    options = {"hidden": (5, 4), "norm": False, "activation": "tanh"}
    session = build_session(DirectRandomTargetProjection, MLP, toy_dataset(shape=(1, 3, 3)), model_options=options)
    found, report = gradients(session)
    weights = dict(session.network.model.named_parameters())
    names = ("layers.0.0", "layers.1.0")
    matrices = [weights[f"{name}.weight"].detach() for name in names]
    biases = [weights[f"{name}.bias"].detach() for name in names]
    patterns = list(session.rule.buffers())
    batch = session.batches.batch(0)
    expected, objectives = [torch.zeros_like(matrix) for matrix in matrices], [0.0, 0.0]
    for image, label in zip(batch.images.double().flatten(1), batch.labels.tolist(), strict=True):
        before = image
        for index in range(2):
            given = torch.tanh(matrices[index] @ before + biases[index])
            target = torch.zeros(4, dtype=torch.float64)
            target[label] = 1
            delta = -(target @ patterns[index]) * (1 - given**2) / len(batch.labels)
            expected[index] += torch.outer(delta, before)
            objectives[index] -= float((target @ patterns[index]) @ given) / len(batch.labels)
            before = given
    for name, matrix in zip(names, expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], matrix)
    hidden = [report.objectives[layer.name].item() for layer in session.network.hidden]
    assert hidden == pytest.approx(objectives)


def test_outputs_move_towards_the_pattern_of_their_class() -> None:
    session = perceptron(DirectRandomTargetProjection)
    before = gradients(session, double=False)[1].objectives
    train(session)
    after = gradients(session, double=False)[1].objectives
    for layer in session.network.hidden:
        assert after[layer.name] < before[layer.name]


@pytest.mark.parametrize("granularity", ["layer", "block", 3])
def test_every_output_of_every_hidden_layer_has_patterns_that_never_learn(granularity: str | int) -> None:
    session = dense(DirectRandomTargetProjection, granularity=granularity)
    shapes = [shape for layer in session.network.hidden for shape in layer.out_shapes]
    before = {name: buffer.clone() for name, buffer in session.rule.named_buffers()}
    assert [tuple(buffer.shape) for buffer in before.values()] == [(4, *shape) for shape in shapes]
    assert not list(session.rule.parameters())
    train(session)
    for name, buffer in session.rule.named_buffers():
        assert torch.equal(buffer, before[name])


@pytest.mark.parametrize("network", [perceptron, dense])
def test_half_precision_stays_finite(network: Any) -> None:
    found, _ = gradients(network(DirectRandomTargetProjection, precision="bf16"), double=False)
    assert all(bool(gradient.isfinite().all()) for gradient in found.values())
