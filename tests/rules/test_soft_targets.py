"""Smoothed, mixed and weighted targets under every rule: those that declare it honour them, the others are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.one_step import first_batch, gradients_in_double
from torch import Tensor

from localrules.core.view import Batch
from localrules.engine.resolve import _accepts, resolve_run
from localrules.engine.session import Session
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_closed_form.least_squares import LeastSquares

REGISTRY = Registry.load(allow=[])
RULES = [item.entry.name for item in REGISTRY.entries("rule")]
DATA = toy_dataset(samples=16)
UNLABELLED = ("softhebb", "oja", "greedy-infomax", "scff", "clapp")
"""Rules whose hidden layers do not see the targets: the readout alone does."""
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "hsic": [{"kernel_y": kind} for kind in ("delta", "cosine", "balanced", "gaussian")],
    "infopro": [{"task": "contrast"}, {"task": "softmax"}],
    "error-broadcast": [{}, {"loss": "squared"}],
    "hsic-projected": [{"ce": 1.0}],
    "predictive-coding": [{"mode": "error"}, {"mode": "strict", "iterations": 4}],
    **{name: [{}] for name in UNLABELLED},
}
"""Beside what the conformance kit tries: every rule with its defaults."""
CASES = [(name, options) for name, each in OPTIONS.items() for options in each]


def session(name: str, options: dict[str, Any], **settings: Any) -> Session:
    rule = REGISTRY.resolve("rule", name)
    network, size = (
        ("resnet20", {"blocks": [1], "width": 4}) if name == "greedy-infomax" else ("mlp", {"hidden": (6, 5)})
    )
    model = REGISTRY.resolve("model", network)
    suits = {key: value for key, value in rule.info.model_defaults.items() if _accepts(model.Config, key, value)}
    built = {"rule_options": options, "model_options": suits | size, "batch_size": 8, **settings}
    return build_session(rule, model, DATA, **built)


def gradients(monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any], targets: Any) -> dict[str, Tensor]:
    """Those of the first batch, with other targets than its labels."""

    def batch(found: Session) -> Batch:
        plain = first_batch(found)
        return Batch(plain.images, plain.labels, plain.num_classes, targets(plain))

    monkeypatch.setattr("helpers.one_step.first_batch", batch)
    return gradients_in_double(session(name, options))[0]


def codes(batch: Batch) -> Tensor:
    return batch.class_targets(torch.float64)


def differ(one: Tensor, other: Tensor) -> bool:
    return not torch.allclose(one, other, rtol=1e-3, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_rule_honours_the_targets_that_it_admits(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    requires = REGISTRY.resolve("rule", name).info.requires
    if not requires.admits("probabilities"):
        pytest.skip("it needs labels")
    plain = gradients(monkeypatch, name, options, lambda batch: None)
    assert plain
    same = gradients(monkeypatch, name, options, lambda batch: codes(batch))
    assert plain.keys() == same.keys()
    for key, gradient in plain.items():
        torch.testing.assert_close(same[key], gradient, rtol=1e-6, atol=1e-9, msg=lambda text, key=key: key + text)
    mixed = gradients(monkeypatch, name, options, lambda batch: 0.7 * codes(batch) + 0.3 * codes(batch).roll(1, 0))
    changed = {key for key in plain if differ(mixed[key], plain[key])}
    hidden = {key for key in changed if not key.startswith("readout")}
    assert hidden if name not in UNLABELLED else changed and not hidden
    if requires.admits("weighted"):
        weighted = gradients(monkeypatch, name, options, lambda batch: codes(batch) * torch.arange(4))
        assert any(differ(weighted[key], plain[key]) for key in plain)


WEIGHTED = [name for name in RULES if REGISTRY.resolve("rule", name).info.requires.admits("weighted")]


@pytest.mark.parametrize("name", [name for name in WEIGHTED if name not in (*UNLABELLED, "node-perturbation")])
def test_a_class_of_weight_zero_teaches_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The last layers have no gradient when all samples' classes have the weight 0."""
    found = gradients(monkeypatch, name, {}, lambda batch: codes(batch) * 0)
    assert all(not gradient.any() for key, gradient in found.items() if "readout" in key)


def test_rules_that_need_labels_are_refused() -> None:
    for name, targets in (
        ("forward-forward", {"mixup": 0.2}),
        ("forward-forward", {"label_smoothing": 0.1}),
        ("predsim", {"class_weights": "balanced"}),
    ):
        settings = {"rule": name, "model": "mlp", "data": "faces", "targets": targets}
        with pytest.raises(UsageError, match=name) as caught:
            resolve_run(settings, REGISTRY)
        assert "local-ce" in caught.value.fix
        assert caught.value.where == f"targets.{next(iter(targets))}"


def test_ridge_regression_takes_probabilities() -> None:
    draw = torch.Generator().manual_seed(0)
    features, labels = torch.randn(9, 5, generator=draw), torch.randint(3, (9,), generator=draw)
    codes = torch.nn.functional.one_hot(labels, 3).float()
    solutions = []
    for targets in (labels, codes, 0.5 * codes + 0.5 * codes.roll(1, 0)):
        regression = LeastSquares(5, 3, 0.01)
        regression.add(features, targets)
        solutions.append(regression.solution)
    torch.testing.assert_close(solutions[1], solutions[0])
    assert differ(solutions[2], solutions[0])
