"""Powers of an objective beside its loss: the network's inputs, what readers receive, the prediction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from helpers.tiny_sessions import dense, perceptron, train
from torch import Tensor
from torch.nn import functional

from localrules import (
    Batch,
    CustomPrediction,
    ExtractViews,
    InputTransform,
    Layer,
    LayerView,
    LayerVoting,
    Objective,
    OutputTransform,
    Requirements,
    RuleInfo,
)
from localrules.core.phase import Phase
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import StepResult, train_step
from localrules.errors import UsageError


class Recording(Objective):
    """Keeps its views; learns nothing of use."""

    info = RuleInfo(requires=Requirements(operations=True))

    def __init__(self, config: Any, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.views: list[LayerView] = []

    def forward(self, view: LayerView) -> Tensor:
        self.views.append(view)
        return view.output.square().mean()


def objectives(session: Session) -> list[Any]:
    return list(session.rule.objectives.values())  # type: ignore[operator,union-attr]


def step(session: Session, number: int = 0) -> StepResult:
    phase: Phase = session.phases[0]
    apply_phase(phase, session.network, session.trainable)
    return train_step(session, phase, number)


def test_every_layer_has_an_objective_that_knows_its_peers() -> None:
    session = dense(Recording)
    names = [layer.name for layer in session.network.hidden]
    assert [objective.layer.name for objective in objectives(session)] == names
    for index, objective in enumerate(objectives(session)):
        assert [peer.name for peer in objective.layer.peers] == names
        assert objective.layer.peer_index == index


def test_a_view_holds_the_operations_that_ran_inside_the_layer() -> None:
    session = dense(Recording)
    train(session, 0, 1)
    for objective in objectives(session):
        (view,) = objective.views
        (operation,) = view.operations
        assert operation.kind == "conv2d"
        assert operation.output is not None
        assert operation.output.shape == view.output.shape
        assert operation.weight.requires_grad


class Doubling(Recording, OutputTransform):
    """Readers receive twice the layer's output."""

    def transform_output(self, output: Tensor) -> Tensor:
        return 2 * output


def test_readers_receive_the_transformed_output_in_training_and_in_prediction() -> None:
    session = perceptron(Doubling)
    train(session, 0, 1)
    first, second, *_ = (objective.views[0] for objective in objectives(session))
    assert torch.equal(second.inputs[0], 2 * first.output.detach())
    images = session.batches.batch(0).images
    with session.predictor.eval_mode():
        found = session.rule.predict(session.network, images)
        features = images.flatten(1)
        for layer in session.network.model.layers:  # type: ignore[union-attr]
            features = 2 * layer(features)
        assert torch.equal(found, session.network.model.readout(features))  # type: ignore[operator]


class FirstVotes(Recording, LayerVoting):
    """The first layer votes for the class whose unit is largest. The others do not vote."""

    voters: tuple[int, ...] = (0,)

    def layer_logits(self, view: LayerView) -> Tensor | None:
        assert len(view.labels) == 0
        return view.output[:, : view.num_classes] if view.layer.index in self.voters else None


class TwoVote(FirstVotes):
    """The first two layers vote."""

    voters = (0, 1)


class OneVotesAlone(FirstVotes):
    """The first layer's vote is the prediction."""

    voting_weight = 1.0


class NoneVotes(FirstVotes):
    """No layer votes."""

    voters = ()


@pytest.mark.parametrize("kind", [FirstVotes, TwoVote, OneVotesAlone, NoneVotes], ids=lambda kind: kind.__name__)
def test_votes_are_averaged_and_weighed_against_the_readout(kind: type[FirstVotes]) -> None:
    session = perceptron(kind)
    images = session.batches.batch(0).images
    with session.predictor.eval_mode():
        found = session.rule.predict(session.network, images)
        features, votes = images.flatten(1), []
        for index, layer in enumerate(session.network.model.layers):  # type: ignore[arg-type]
            features = layer(features)
            if index in kind.voters:
                votes.append(features[:, :4].log_softmax(1))
        readout = session.network.model.readout(features)  # type: ignore[operator]
    if votes:
        weight = kind.voting_weight
        expected = (1 - weight) * readout.log_softmax(1) + weight * torch.stack(votes).mean(0)
        torch.testing.assert_close(found, expected)
    else:
        assert torch.equal(found, readout)


class Twice(Recording, InputTransform, CustomPrediction):
    """Trains on each image and its negative, and predicts by the first layer's first units."""

    info = RuleInfo(requires=Requirements(operations=True), trains_readout=False)

    def make_inputs(self, batch: Batch) -> Tensor:
        return torch.cat([batch.images, -batch.images])

    @classmethod
    def predict(cls, objectives: Sequence[Twice], extract_views: ExtractViews, images: Tensor) -> Tensor:
        views = extract_views(images)
        assert [objective.layer.name for objective in objectives] == [view.layer.name for view in views]
        assert all(len(view.labels) == 0 for view in views)
        return views[0].output[:, : views[0].num_classes]


def test_the_network_may_be_trained_on_more_inputs_than_the_batch_has() -> None:
    session = perceptron(Twice)
    before = [weight.clone() for weight in session.network.readout.parameters()]
    train(session, 0, 2)
    for objective in objectives(session):
        for view in objective.views:
            assert len(view.output) == 2 * len(view.labels)
            assert len(view.images) == len(view.labels)
    for one, other in zip(before, session.network.readout.parameters(), strict=True):
        assert torch.equal(one, other)  # it cannot learn from inputs without labels


def test_an_objective_may_predict_by_itself() -> None:
    session = perceptron(Twice)
    scores = session.predictor.scores(session.data.split("valid"))
    assert scores.logits.shape == (32, 4)


class TwoViews(Recording, InputTransform):
    """Trains on each image and its negative, each with the label."""

    def make_inputs(self, batch: Batch) -> tuple[Tensor, Tensor]:
        return torch.cat([batch.images, -batch.images]), batch.labels.repeat(2)


def test_inputs_with_labels_train_the_readout_and_are_what_accuracy_counts() -> None:
    session = perceptron(TwoViews)
    before = [weight.clone() for weight in session.network.readout.parameters()]
    result = step(session)
    assert not any(map(torch.equal, before, session.network.readout.parameters()))
    assert result.report.logits is not None
    assert len(result.report.logits) == len(result.labels) == 2 * session.config.batch_size
    view = objectives(session)[0].views[0]
    assert len(view.labels) == len(view.images) == len(view.output)


def test_an_untrained_readout_needs_a_prediction_of_the_rules_own() -> None:
    with pytest.raises(UsageError, match="leaves the readout untrained"):

        class Silent(Objective):
            info = RuleInfo(trains_readout=False)

            def forward(self, view: LayerView) -> Tensor:
                return view.output.mean()


class Logging(Objective):
    """Names its losses, and logs a value."""

    def forward(self, view: LayerView) -> dict[str, Tensor]:
        self.log("mean", view.output.mean())
        return {"size": view.output.square().mean(), "spread": -view.output.std(0).mean()}


def test_named_losses_and_logged_values_are_reported_without_a_declaration() -> None:
    session = perceptron(Logging)
    report = step(session).report
    names = [layer.name for layer in session.network.hidden]
    expected = {f"{name}/{layer}" for name in ("mean", "loss/size", "loss/spread") for layer in names}
    assert set(report.metrics) == expected
    for layer in names:
        parts = report.metrics[f"loss/size/{layer}"] + report.metrics[f"loss/spread/{layer}"]
        torch.testing.assert_close(parts, report.objectives[layer])
    assert not any(value.requires_grad for value in report.metrics.values())


class Precise(Objective):
    """Records the precision that it runs in."""

    def __init__(self, config: Any, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.head = torch.nn.Linear(layer.out_channels, num_classes)
        self.types: list[torch.dtype] = []

    def forward(self, view: LayerView) -> Tensor:
        logits = self.head(view.pooled(1))
        self.types += [view.output.dtype, view.inputs[0].dtype, logits.dtype]
        return functional.cross_entropy(logits.float(), view.labels)


class Mixed(Precise):
    info = RuleInfo(autocast=True)


@pytest.mark.parametrize(("kind", "last"), [(Precise, torch.float32), (Mixed, torch.bfloat16)])
def test_an_objective_runs_in_float32_unless_it_asks_for_autocast(kind: type[Precise], last: torch.dtype) -> None:
    session = dense(kind, precision="bf16")
    train(session, 0, 1)
    for objective in objectives(session)[1:]:
        assert objective.types[-1] == last
        assert objective.types[0] == last
