"""man: a head on the next layer with averaged and with learned weights, and the class that it declares."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.one_step import first_batch, gradients_in_double
from helpers.tiny_sessions import DATASET, build_session, train
from torch import Tensor
from torch.nn import functional

from localrules import Layer
from localrules.auditing.audit import audit
from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules_classics.mlp import MLP
from localrules_classics.resnet import ResNet20
from localrules_supervised.dgl import DGL
from localrules_supervised.man import MAN

SMALL: dict[str, Any] = {"hidden": (9, 8, 7), "norm": False, "activation": "tanh"}


def small(rule: type = MAN, **options: Any) -> Session:
    return build_session(rule, MLP, DATASET, rule_options=options, model_options=SMALL)


def named(session: Session) -> dict[str, Tensor]:
    return {name: value.detach().clone().double() for name, value in session.rule.state_dict().items()}


@pytest.mark.parametrize("learned", [True, False])
def test_gradients_of_the_head_on_both_copies_of_the_next_layer(learned: bool) -> None:
    session = small(momentum=0.8, learned=learned)
    train(session, 0, 2)  # the average and the copy move apart
    before = named(session)
    rule, batch = session.rule, first_batch(session)
    found, _ = gradients_in_double(session)
    weights = {name: weight.detach().double() for name, weight in session.network.model.named_parameters()}
    own = weights["layers.0.0.weight"].clone().requires_grad_()
    output = torch.tanh(functional.linear(batch.images.flatten(1), own, weights["layers.0.0.bias"]))
    copies = []
    for name in ("weight", "bias"):
        kept = before[f"objectives.layers/0#0.average.0.{name}"]
        copies.append(0.8 * kept + 0.2 * weights[f"layers.1.0.{name}"])
    features = torch.tanh(functional.linear(output, *copies))
    if learned:
        second = [before[f"objectives.layers/0#0.learned.0.{name}"] for name in ("weight", "bias")]
        features = features + torch.tanh(functional.linear(output, *second))
    head = rule.objectives["layers/0#0"].head  # type: ignore[operator, union-attr, index]
    functional.cross_entropy(head(features), batch.labels).backward()  # type: ignore[operator]
    assert own.grad is not None
    torch.testing.assert_close(found["layers.0.0.weight"], own.grad, rtol=1e-9, atol=1e-12)


def test_the_uppermost_layer_has_no_next_one_and_learns_as_by_dgl() -> None:
    session = small()
    objective = session.rule.objectives["layers/2#0"]  # type: ignore[operator, union-attr, index]
    assert objective.average is None  # type: ignore[union-attr]
    other = small(DGL)
    heads = {name: value for name, value in session.rule.state_dict().items() if "layers/2#0" in name}
    other.rule.load_state_dict(heads, strict=False)
    found, _ = gradients_in_double(session)
    expected, _ = gradients_in_double(other)
    torch.testing.assert_close(found["layers.2.0.weight"], expected["layers.2.0.weight"])


def test_the_average_follows_the_next_layer_and_is_kept_with_the_run() -> None:
    session = small(momentum=0.5)
    name = "objectives.layers/0#0.average.0.weight"
    kept = [named(session)[name]]
    values = []
    for step in range(3):
        values.append(session.network.hidden[1].module[0].weight.detach().clone().double())  # type: ignore[index]
        train(session, step, step + 1)
        kept.append(named(session)[name])
    expected = kept[0]
    for value, found in zip(values, kept[1:], strict=True):
        expected = 0.5 * expected + 0.5 * value
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not any("average" in name for name, _ in session.rule.named_parameters())


def test_it_is_of_class_window_and_depends_on_the_next_layer_alone() -> None:
    found = audit(small, "window")
    assert (found.measured, found.holds) == ("window", True)
    assert [list(row[:3]) for row in found.dependence.depends[:3]] == [[True, True, False], [True] * 3, [True] * 3]
    assert not audit(small, "local-labels").holds


def test_only_layers_within_the_window_are_known_with_their_modules() -> None:
    peers = small().rule.objectives["layers/0#0"].layer.peers  # type: ignore[operator, union-attr, index]
    assert [isinstance(peer, Layer) for peer in peers] == [False, True, False]  # type: ignore[union-attr]


def test_residual_blocks_are_trained_as_blocks_and_refused_layer_by_layer() -> None:
    options = {"blocks": [1, 1], "width": 4}
    session = build_session(MAN, ResNet20, DATASET, model_options=options, granularity="block")
    train(session, 0, 1)
    with pytest.raises(UsageError, match="cannot train") as refused:
        build_session(MAN, ResNet20, DATASET, model_options=options)
    assert "sequential layers" in refused.value.why


def test_its_layers_do_not_learn_at_the_same_time() -> None:
    with pytest.raises(UsageError, match="cannot learn at the same time"):
        build_session(MAN, MLP, DATASET, model_options=SMALL, parallel_layers=2)
