"""Rules on degenerate batches, in half precision, and on batches that they refuse."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.exhaustive import few
from helpers.tiny_sessions import LOCAL_RULES, RULES, dense, perceptron, state, train

from localrules.data.dataset import Dataset, Split
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.errors import UsageError
from localrules.testing.conformance.sessions import toy_dataset

pytestmark = pytest.mark.slow

DATASET = toy_dataset()
FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in RULES},
    **{
        f"{name} as printed": (name, {"preset": "paper"})
        for name, rule in RULES.items()
        if "paper" in rule.info.presets
    },
}


def changed(images: torch.Tensor | None = None, labels: torch.Tensor | None = None) -> Dataset:
    train_split = DATASET.split("train")
    split = Split(train_split.images if images is None else images, train_split.labels if labels is None else labels)
    return replace(DATASET, splits={**DATASET.splits, "train": split})


IMAGES, LABELS = DATASET.split("train").images, DATASET.split("train").labels
HARD: dict[str, Dataset] = {
    "one class": changed(labels=torch.zeros_like(LABELS)),
    "constant images": changed(images=torch.full_like(IMAGES, 77)),
    "black images of one class": changed(torch.zeros_like(IMAGES), torch.zeros_like(LABELS)),
    "the same image each time": changed(images=IMAGES[:1].expand_as(IMAGES).clone()),
    "labels unrelated to images": changed(images=IMAGES[:2].repeat(16, 1, 1, 1)),
}


def assert_stays_finite(session: Session) -> None:
    (phase,) = session.phases
    apply_phase(phase, session.network, session.trainable)
    for step in range(4):
        report = train_step(session, phase, step).report
        assert all(math.isfinite(float(value)) for value in report.objectives.values()), step
    for name, tensor in state(session).items():
        assert bool(tensor.isfinite().all()), name


@pytest.mark.parametrize("case", few(HARD, {"one class", "half precision", "constant images"}))
@pytest.mark.parametrize("form", FORMS)
def test_a_batch_with_nothing_to_learn_from_breaks_nothing(form: str, case: str) -> None:
    rule, options = FORMS[form]
    assert_stays_finite(dense(RULES[rule], data=HARD[case], rule_options=options))


@pytest.mark.parametrize("network", [dense, perceptron])
@pytest.mark.parametrize("form", FORMS)
def test_the_smallest_batch(form: str, network: Any) -> None:
    rule, options = FORMS[form]
    smallest = max(2, RULES[rule].info.requires.min_batch)  # which norms need
    assert_stays_finite(network(RULES[rule], batch_size=smallest, rule_options=options))


@pytest.mark.parametrize("form", FORMS)
def test_half_precision(form: str) -> None:
    rule, options = FORMS[form]
    session = dense(RULES[rule], precision="bf16", rule_options=options)
    seen: list[torch.dtype] = []
    session.network.model.blocks[0].convs[0].norm.register_forward_hook(lambda *found: seen.append(found[2].dtype))
    assert_stays_finite(session)
    assert set(seen) == {torch.bfloat16}
    assert all(parameter.dtype == torch.float32 for parameter in session.network.parameters())


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("rule", ["hsic", "hsic-normalized"])
def test_two_samples_have_nothing_to_teach_by_their_similarity(rule: str, size: int) -> None:
    """Centred and normalised, their Gram matrix is the same whatever the features."""
    with pytest.raises(UsageError, match="needs batches of at least 3") as found:
        perceptron(RULES[rule], batch_size=size)
    assert "--batch-size 3" in found.value.fix


def test_a_batch_of_one_is_refused_where_the_networks_norms_compare_images() -> None:
    with pytest.raises(UsageError, match="a batch norm of the network needs batches of at least 2"):
        train(perceptron(RULES["local-ce"], batch_size=1), 0, 1)


@pytest.mark.parametrize("rule", LOCAL_RULES)
def test_a_rule_learns_what_is_there_to_learn(rule: str) -> None:
    augment = {"shift": 0, "flip": False}
    session = perceptron(
        RULES[rule], data=toy_dataset(samples=64), steps=60, optimizer={"lr": 0.01}, augment=augment, batch_size=32
    )
    train(session)
    assert session.predictor.scores(session.data.split("valid")).top1 > 0.9
