"""What an objective may change beside its loss: what the network is fed, what readers are given, how it answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from helpers.tiny_sessions import dense, perceptron, train
from torch import Tensor

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.objective import Look
from localrules.core.view import Batch


class Seen(Objective):
    """Notes what it sees; learns nothing of use."""

    requires = Requirements(operations=True)

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        self.layers = [layer.name for layer in layers]
        self.views: list[LayerView] = []

    def forward(self, view: LayerView) -> Tensor:
        self.views.append(view)
        return view.output.square().mean()


def test_an_objective_is_told_its_layers_in_forward_order_before_it_makes_auxiliaries() -> None:
    session = dense(Seen)
    objective = session.rule.objectives[0]
    assert objective.layers == [layer.name for layer in session.network.hidden]


def test_a_view_holds_the_operations_that_ran_inside_the_layer() -> None:
    session = dense(Seen)
    train(session, 0, 1)
    for view in session.rule.objectives[0].views:
        (operation,) = view.operations
        assert operation.kind == "conv2d"
        assert operation.output is not None
        assert operation.output.shape == view.output.shape
        assert operation.weight.requires_grad


class Doubled(Seen):
    """Readers are given twice what a layer gives."""

    def hand_on(self, layer: Layer, output: Tensor) -> Tensor:
        return 2 * output


def test_readers_are_given_what_is_handed_on_in_training_and_in_prediction() -> None:
    session = perceptron(Doubled)
    train(session, 0, 1)
    first, second, *_ = session.rule.objectives[0].views
    assert torch.equal(second.inputs[0], 2 * first.output.detach())
    images = session.batches.batch(0).images
    with session.predictor.eval_mode():
        found = session.rule.predict(session.network, images)
        features = images.flatten(1)
        for layer in session.network.model.layers:
            features = 2 * layer(features)
        assert torch.equal(found, session.network.model.readout(features))


class FirstVotes(Seen):
    """The first layer has a say: the class whose unit is largest. The others have none."""

    voters = (0,)

    def vote(self, view: LayerView) -> Tensor | None:
        assert len(view.labels) == 0
        return view.output[:, : view.num_classes] if view.layer.index in self.voters else None


class TwoVote(FirstVotes):
    """The first two have."""

    voters = (0, 1)


class NoneVotes(FirstVotes):
    """None has."""

    voters = ()


@pytest.mark.parametrize("kind", [FirstVotes, TwoVote, NoneVotes], ids=lambda kind: kind.__name__)
def test_layers_that_vote_have_half_of_the_answer_between_them(kind: type[FirstVotes]) -> None:
    session = perceptron(kind)
    images = session.batches.batch(0).images
    with session.predictor.eval_mode():
        found = session.rule.predict(session.network, images)
        features, votes = images.flatten(1), []
        for index, layer in enumerate(session.network.model.layers):
            features = layer(features)
            if index in kind.voters:
                votes.append(features[:, :4].log_softmax(1))
        readout = session.network.model.readout(features)
    if votes:
        torch.testing.assert_close(found, (readout.log_softmax(1) + torch.stack(votes).mean(0)) / 2)
    else:
        assert torch.equal(found, readout)


class Twice(Seen):
    """Feeds the network each picture and its negative, and answers by the first layer's first units."""

    trains_readout = False

    def stream(self, batch: Batch) -> Tensor:
        return torch.cat([batch.images, -batch.images])

    def predict(self, look: Look, images: Tensor, num_classes: int) -> Tensor:
        views = look(images)
        self.unlabelled = all(len(view.labels) == 0 for view in views)
        return views[0].output[:, :num_classes]


def test_the_network_may_be_fed_more_rows_than_the_batch_has() -> None:
    session = perceptron(Twice)
    before = [weight.clone() for weight in session.network.readout.parameters()]
    train(session, 0, 2)
    for view in session.rule.objectives[0].views:
        assert len(view.output) == 2 * len(view.labels)
        assert len(view.images) == len(view.labels)
    for one, other in zip(before, session.network.readout.parameters(), strict=True):
        assert torch.equal(one, other)  # it cannot learn from rows that have no label


def test_an_objective_may_answer_by_itself_and_sees_no_labels_then() -> None:
    session = perceptron(Twice)
    scores = session.predictor.scores(session.data.split("valid"))
    assert scores.logits.shape == (32, 4)
    assert session.rule.objectives[0].unlabelled
