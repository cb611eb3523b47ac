"""Every supervised rule learns, is local, and no batch breaks it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.exhaustive import few
from helpers.one_layer import LABELS, SAMPLES, drawn, draws, layer_of, make, see
from helpers.tiny_sessions import DATASET, dense, perceptron, train

from localrules import Batch, Objective
from localrules.data.dataset import Dataset, Split
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.errors import UsageError
from localrules_supervised.auglocal import AugLocal
from localrules_supervised.dgl import DGL
from localrules_supervised.infopro import InfoPro
from localrules_supervised.mono_forward import MonoForward
from localrules_supervised.pred import Pred
from localrules_supervised.predsim import PredSim
from localrules_supervised.sim import Sim

pytestmark = pytest.mark.slow

RULES: dict[str, type[Objective]] = {
    "pred": Pred,
    "sim": Sim,
    "predsim": PredSim,
    "dgl": DGL,
    "infopro": InfoPro,
    "auglocal": AugLocal,
    "mono-forward": MonoForward,
}
COMPARES = {"sim", "predsim", "dgl", "infopro", "auglocal"}  # samples with each other, batch norm in a head included
IMAGES, TRUTH = DATASET.split("train").images, DATASET.split("train").labels
for_each_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def changed(images: torch.Tensor = IMAGES, labels: torch.Tensor = TRUTH) -> Dataset:
    return replace(DATASET, splits={**DATASET.splits, "train": Split(images, labels)})


HARD: dict[str, dict[str, Any]] = {
    "one class": {"data": changed(labels=torch.zeros_like(TRUTH))},
    "constant images": {"data": changed(images=torch.full_like(IMAGES, 77))},
    "black images of one class": {"data": changed(torch.zeros_like(IMAGES), torch.zeros_like(TRUTH))},
    "two images": {"batch_size": 2},
    "half precision": {"precision": "bf16"},
}


@pytest.mark.parametrize("case", few(HARD, {"one class", "half precision", "constant images"}))
@for_each_rule
def test_no_batch_breaks_it(rule: type[Objective], case: str) -> None:
    for network in (dense, perceptron):
        session: Session = network(rule, **HARD[case])
        (phase,) = session.phases
        apply_phase(phase, session.network, session.trainable)
        for step in range(3):
            report = train_step(session, phase, step).report
            assert all(math.isfinite(float(value)) for value in report.objectives.values()), step
        assert all(bool(parameter.isfinite().all()) for parameter in session.network.parameters())
        assert all(bool(parameter.isfinite().all()) for parameter in session.rule.parameters())


@pytest.mark.parametrize("name", RULES)
def test_one_image_is_refused_where_samples_are_compared(name: str) -> None:
    if name in COMPARES:
        with pytest.raises(UsageError, match="needs batches of at least 2"):
            perceptron(RULES[name], batch_size=1)
    else:
        perceptron(RULES[name], batch_size=1)


@for_each_rule
def test_the_order_of_the_batch_does_not_matter(rule: type[Objective]) -> None:
    objective = drawn(make(rule, layer_of((8,), in_shape=(4,))))
    view = see(objective, images=draws(SAMPLES, 4, seed=7))

    def gradient() -> torch.Tensor:
        loss = objective(view)
        total = sum(loss.values(), torch.zeros(())) if isinstance(loss, dict) else loss
        return torch.autograd.grad(total, view.output)[0]

    before = gradient()
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    view.batch = Batch(view.images[order], LABELS[order], view.num_classes)
    view.output = view.output.detach()[order].requires_grad_()
    torch.testing.assert_close(gradient(), before[order])


@for_each_rule
def test_all_its_modules_learn_with_their_layer_and_with_no_other(rule: type[Objective]) -> None:
    session = perceptron(rule)
    owned = [parameter for layer in session.network.hidden for parameter in session.rule.parameters_for(layer)]
    assert len(owned) == len({id(parameter) for parameter in owned})
    assert {id(parameter) for parameter in owned} == {id(parameter) for parameter in session.rule.parameters()}
    before = [parameter.detach().clone() for parameter in owned]
    train(session)
    assert all(not torch.equal(*pair) for pair in zip(before, owned, strict=True))
