"""Direct feedback alignment: every layer gets the output's error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_sessions import dense, perceptron, state, train
from test_fa_rule import gradients, lenet

from localrules.auditing.dependence import measure_dependence
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_classics.mlp import MLP
from localrules_feedback.dfa import DirectFeedbackAlignment
from localrules_feedback.projection import random_patterns


def test_against_the_formula_written_out() -> None:
    """delta_l = (B_l e) * phi', dW_l = delta_l h_{l-1}^T, in loops over the batch."""
    options = {"hidden": (5, 4), "norm": False, "activation": "tanh"}
    session = build_session(DirectFeedbackAlignment, MLP, toy_dataset(shape=(1, 3, 3)), model_options=options)
    found, report = gradients(session)
    names = ("layers.0.0", "layers.1.0", "readout")
    weights = dict(session.network.model.named_parameters())
    matrices = [weights[f"{name}.weight"].detach() for name in names]
    biases = [weights[f"{name}.bias"].detach() for name in names]
    patterns = [session.rule.get_buffer(name) for name in ("layers/0#0", "layers/1#0")]
    batch = session.batches.batch(0)
    expected = [torch.zeros_like(matrix) for matrix in matrices]
    loss = 0.0
    for image, label in zip(batch.images.double().flatten(1), batch.labels, strict=True):
        first = torch.tanh(matrices[0] @ image + biases[0])
        second = torch.tanh(matrices[1] @ first + biases[1])
        error = torch.softmax(matrices[2] @ second + biases[2], 0)
        loss -= float(torch.log(error[label])) / len(batch.labels)
        error[label] -= 1
        error /= len(batch.labels)
        deltas = ((error @ patterns[0]) * (1 - first**2), (error @ patterns[1]) * (1 - second**2), error)
        for total, delta, before in zip(expected, deltas, (image, first, second), strict=True):
            total += torch.outer(delta, before)
    for name, matrix in zip(names, expected, strict=True):
        torch.testing.assert_close(found[f"{name}.weight"], matrix, rtol=1e-5, atol=1e-7)
    assert report.loss is not None
    assert report.loss.item() == pytest.approx(loss, rel=1e-5)


def test_with_the_readout_s_own_weights_the_last_hidden_layer_learns_by_back_propagation() -> None:
    session = perceptron(DirectFeedbackAlignment)
    readout = session.network.readout.module.weight
    session.rule.get_buffer("layers/2#0").copy_(readout.detach())
    found, _ = gradients(session)
    expected, _ = gradients(perceptron(Backprop))
    for name, gradient in expected.items():
        if name.startswith(("layers.2", "readout")):
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(found["layers.1.0.weight"], expected["layers.1.0.weight"])


@pytest.mark.parametrize("granularity", ["layer", "block", 3])
def test_every_output_of_every_hidden_layer_has_a_fixed_matrix(granularity: str | int) -> None:
    session = dense(DirectFeedbackAlignment, granularity=granularity)
    shapes = [shape for layer in session.network.hidden for shape in layer.out_shapes]
    before = {name: buffer.clone() for name, buffer in session.rule.named_buffers()}
    assert [tuple(buffer.shape) for buffer in before.values()] == [(4, *shape) for shape in shapes]
    train(session)
    for name, buffer in session.rule.named_buffers():
        assert torch.equal(buffer, before[name])


@pytest.mark.parametrize("shape", [(400,), (8, 12, 12)])
def test_a_pattern_is_about_as_long_whatever_the_layer(shape: tuple[int, ...]) -> None:
    lengths = random_patterns(50, shape).flatten(1).norm(dim=1)
    assert lengths.mean().item() == pytest.approx(1, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("network", [perceptron, dense])
def test_a_hidden_layer_hears_of_others_only_by_what_it_reads_and_the_broadcast_error(network: Any) -> None:
    found = measure_dependence(lambda: network(DirectFeedbackAlignment))
    assert found.deterministic
    assert not found.is_local
    assert DirectFeedbackAlignment.info.locality == "broadcast-error"


@pytest.mark.parametrize("network", [perceptron, lenet, dense])
def test_half_precision_stays_near_full_precision(network: Any) -> None:
    found, _ = gradients(network(DirectFeedbackAlignment, precision="bf16"), double=False)
    expected, _ = gradients(network(DirectFeedbackAlignment), double=False)
    joined, true = (torch.cat([g[name].flatten() for name in sorted(g)]) for g in (found, expected))
    assert torch.cosine_similarity(joined, true, 0) > 0.98


@pytest.mark.parametrize("learns", ["hidden", "readout"])
def test_layers_that_do_not_learn_stay_as_they_are(learns: str) -> None:
    session = perceptron(DirectFeedbackAlignment, phases=[{"name": "only", "train_layers": learns}])
    before = state(session)
    train(session)
    moved = {name.split(".")[1] for name, tensor in state(session).items() if not torch.equal(tensor, before[name])}
    assert moved == ({"readout"} if learns == "readout" else {"layers"})
