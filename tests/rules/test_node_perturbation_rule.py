"""Node perturbation: noise at the layers' outputs, correlated with the change of the loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.one_step import by_autograd, gradients_in_double
from helpers.tiny_sessions import dense, perceptron, read_twice
from torch import Tensor

from localrules.engine.session import Session
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_classics.mlp import MLP
from localrules_feedback.node_perturbation import NodePerturbation

NAMES = ("layers.0.0", "layers.1.0", "readout")


def small(**options: Any) -> Session:
    """Two layers of tanh units, without norms."""
    return build_session(
        NodePerturbation,
        MLP,
        toy_dataset(shape=(1, 3, 3)),
        rule_options=options,
        model_options={"hidden": (5, 4), "norm": False, "activation": "tanh"},
    )


def test_against_the_formula_written_out() -> None:
    """delta_l = mean over passes of (L(h + s) - L(h)) s_l / std^2, sample by sample."""
    std, passes = 0.1, 3
    session = small(std=std, perturbations=passes)
    named = dict(session.network.model.named_parameters())
    matrices = [named[f"{name}.weight"].detach().double() for name in NAMES]
    biases = [named[f"{name}.bias"].detach().double() for name in NAMES]
    found, _ = gradients_in_double(session)
    batch = session.batches.batch(0)
    samples = len(batch.labels)

    def loss(image: Tensor, label: int, first_noise: Any, second_noise: Any) -> tuple[Tensor, Tensor, float]:
        first = torch.tanh(matrices[0] @ image + biases[0])
        second = torch.tanh(matrices[1] @ (first + first_noise) + biases[1])
        logits = matrices[2] @ (second + second_noise) + biases[2]
        return first, second, float(torch.logsumexp(logits, 0) - logits[label])

    torch.manual_seed(0)  # as the rule's step began
    noise = [[torch.randn(samples, units, dtype=torch.float64) * std for units in (5, 4)] for _ in range(passes)]
    expected = [torch.zeros_like(matrix) for matrix in matrices[:2]]
    for index, (image, label) in enumerate(zip(batch.images.double().flatten(1), batch.labels, strict=True)):
        first, second, clean = loss(image, int(label), 0, 0)
        for one, other in noise:
            *_, noisy = loss(image, int(label), one[index], other[index])
            change = (noisy - clean) / std**2 / passes / samples
            expected[0] += torch.outer(change * one[index] * (1 - first**2), image)
            expected[1] += torch.outer(change * other[index] * (1 - second**2), first)
    for name, gradient in zip(NAMES, expected, strict=False):
        torch.testing.assert_close(found[f"{name}.weight"], gradient, rtol=1e-6, atol=1e-9)


def with_two_outputs(**options: Any) -> Session:
    return read_twice(NodePerturbation, rule_options=options)


@pytest.mark.parametrize("network", [small, with_two_outputs])
def test_on_average_it_is_back_propagation(network: Callable[..., Session]) -> None:
    found, _ = gradients_in_double(network(std=1e-3, perturbations=1000))
    expected = by_autograd(network())
    weights = {name: gradient for name, gradient in expected.items() if gradient.dim() > 1}
    for name, gradient in weights.items():
        cosine = torch.cosine_similarity(found[name].flatten(), gradient.flatten(), 0)
        assert cosine > 0.9, name
        assert found[name].norm().item() == pytest.approx(gradient.norm().item(), rel=0.2)


@pytest.mark.parametrize("network", [perceptron, dense])
def test_the_readout_has_its_own_gradient_and_batch_norms_count_a_batch_once(network: Any) -> None:
    session = network(NodePerturbation, rule_options={"perturbations": 2})
    found, _ = gradients_in_double(session)
    assert {float(buffer) for name, buffer in session.network.named_buffers() if "num_batches" in name} == {1.0}
    expected = by_autograd(network(NodePerturbation))
    readout = session.network.readout.name
    own = [name for name in expected if name.startswith(readout)]
    assert own
    for name in own:
        torch.testing.assert_close(found[name], expected[name])
