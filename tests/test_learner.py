"""A module of one's own learns by any rule, in a loop of one's own."""

from __future__ import annotations

import pytest
import torch
from helpers.plain_networks import Residual
from helpers.tiny_sessions import PICTURES, perceptron, train
from torch import nn
from torch.nn import functional

from localrules import Learner, Objective, Requirements
from localrules.data.batches import Batches
from localrules.errors import UsageError
from localrules_backprop.backprop import Backprop
from localrules_hsic.hsic import HSIC


def batches() -> Batches:
    return Batches(PICTURES.split("train"), 16, 0)


@pytest.mark.parametrize("rule", ["hsic", HSIC(), Backprop()], ids=["by name", "an objective", "a rule"])
def test_it_learns_by_whatever_it_is_given(rule: object) -> None:
    torch.manual_seed(0)
    learner = Learner(Residual(), rule, example=torch.zeros(2, 1, 16, 16), num_classes=4, lr=0.02)  # type: ignore[arg-type]
    seen = batches()
    losses = [float(learner.step(batch.images, batch.labels).loss) for batch in map(seen.batch, range(80))]  # type: ignore[arg-type]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert learner.predict(seen.batch(0).images).shape == (16, 4)
    assert not learner.network.model.training


def test_its_back_propagation_is_pytorchs() -> None:
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.ReLU(), nn.Linear(12, 4))
    theirs = nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.ReLU(), nn.Linear(12, 4))
    theirs.load_state_dict(ours.state_dict())
    learner = Learner(ours, "backprop", example=torch.zeros(2, 1, 16, 16), num_classes=4, optimizer="sgd", lr=0.1)
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for step in range(4):
        batch = batches().batch(step)
        learner.step(batch.images, batch.labels)
        functional.cross_entropy(theirs(batch.images), batch.labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_module_that_the_rule_cannot_train_is_refused() -> None:
    class Chains(Objective):
        requires = Requirements(allows_norm=False)

        def forward(self, view):  # type: ignore[no-untyped-def]
            return view.output.mean()

    with pytest.raises(UsageError, match="cannot train Residual") as refused:
        Learner(Residual(), Chains(), example=torch.zeros(2, 1, 16, 16), num_classes=4)
    assert "BatchNorm2d" in refused.value.why


def test_it_takes_the_steps_of_a_run() -> None:
    session = perceptron(HSIC)
    model = perceptron(HSIC).network.model
    settings = session.config.optimizer
    learner = Learner(model, HSIC(), example=torch.zeros(2, 1, 16, 16), num_classes=4, lr=settings.lr)
    for step in range(3):
        batch = session.batches.batch(step)
        learner.step(batch.images, batch.labels)
    train(session, 0, 3)
    for one, other in zip(model.parameters(), session.network.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)
