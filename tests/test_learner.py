"""A module of one's own learns by any rule, in a loop of one's own."""

from __future__ import annotations

from copy import deepcopy
from functools import partial

import pytest
import torch
from helpers.plain_networks import Residual
from helpers.tiny_sessions import DATASET, perceptron, train
from torch import nn
from torch.nn import functional

from localrules import Learner, Objective, Requirements, RuleInfo
from localrules.data.batches import Batches
from localrules.engine.resolve import resolve_run
from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules_backprop.backprop import Backprop
from localrules_hsic.hsic import HSIC


def batches() -> Batches:
    return Batches(DATASET.split("train"), 16, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "rule",
    [
        "hsic",
        pytest.param(HSIC, marks=pytest.mark.exhaustive),
        Backprop,
        Backprop(),
        pytest.param({"*.0": "local-ce", "*": "hsic"}, marks=pytest.mark.exhaustive),
    ],
    ids=["name", "objective", "rule class", "rule", "mixture"],
)
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


SMOOTH = functional.one_hot(torch.arange(16) % 4, 4).float() * 0.9 + 0.025


def small_learner(rule: str) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 8), nn.ReLU(), nn.Linear(8, 4))
    return Learner(model, rule, example=torch.zeros(2, 1, 16, 16), num_classes=4, optimizer="sgd", lr=0.1)


@pytest.mark.parametrize("targets", [SMOOTH, SMOOTH * torch.tensor([0.5, 1, 1, 1.5])], ids=["smooth", "weighted"])
def test_it_learns_from_the_targets_that_cross_entropy_takes(targets: torch.Tensor) -> None:
    images = torch.randn(16, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    learner, expected = small_learner("backprop"), small_learner("backprop").network.model
    loss = functional.cross_entropy(expected(images), targets)
    loss.backward()
    report = learner.step(images, targets)
    assert float(report.loss) == pytest.approx(loss.item())
    moved = [before - 0.1 * before.grad for before in expected.parameters()]  # type: ignore[operator]
    for one, other in zip(learner.network.model.parameters(), moved, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("rule", "targets", "message"),
    [
        ("forward-forward", SMOOTH, "cannot learn from these targets"),
        ("hsic", SMOOTH * 2, "cannot learn from these targets"),
        ("backprop", SMOOTH[:, :3], r"the targets have the shape \(16, 3\)"),
        ("backprop", SMOOTH[:, 0], r"the targets have the shape \(16,\)"),
    ],
)
def test_other_targets_are_refused(rule: str, targets: torch.Tensor, message: str) -> None:
    learner = small_learner(rule)
    before = [parameter.clone() for parameter in learner.network.parameters()]
    with pytest.raises(UsageError, match=message):
        learner.step(torch.randn(16, 1, 16, 16), targets)
    assert all(map(torch.equal, before, learner.network.parameters()))


def test_probabilities_in_half_precision_are_probabilities() -> None:
    small_learner("hsic").step(torch.randn(16, 1, 16, 16), SMOOTH.bfloat16())


def test_a_module_that_the_rule_cannot_train_is_refused() -> None:
    class Chains(Objective):
        info = RuleInfo(requires=Requirements(allows_norm=False))

        def forward(self, view):  # type: ignore[no-untyped-def]
            return view.output.mean()

    with pytest.raises(UsageError, match="cannot train Residual") as refused:
        Learner(Residual(), Chains, example=torch.zeros(2, 1, 16, 16), num_classes=4)
    assert "BatchNorm2d" in refused.value.why


def test_it_takes_the_steps_of_a_run() -> None:
    session = perceptron(HSIC)
    model = perceptron(HSIC).network.model
    settings = session.config.optimizer
    learner = Learner(model, HSIC, example=torch.zeros(2, 1, 16, 16), num_classes=4, optimizer=settings)
    for step in range(3):
        batch = session.batches.batch(step)
        learner.step(batch.images, batch.labels)
    train(session, 0, 3)
    for one, other in zip(model.parameters(), session.network.model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def small(rule: object, **settings: object) -> Learner:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(256, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))
    return Learner(model, rule, example=torch.zeros(2, 1, 16, 16), num_classes=4, **settings)  # type: ignore[arg-type]


def test_the_rules_options_and_run_defaults_apply_and_explicit_settings_override_them() -> None:
    learner = small("softhebb", config={"sharpness": 3.0})
    objective = next(iter(learner.rule.objectives.values()))  # type: ignore[operator,union-attr]
    assert objective.config.sharpness == 3.0
    assert (learner.optimizers.config.name, learner.optimizers.config.lr) == ("sgd", 0.05)
    chosen = small("softhebb", optimizer={"name": "adam", "betas": (0.8, 0.9)}, lr=0.2).optimizers.config
    assert (chosen.name, chosen.lr, chosen.betas) == ("adam", 0.2, (0.8, 0.9))


@pytest.mark.parametrize(("rule", "optimizer"), [("hsic", "sgd"), ("softhebb", "adam"), ("softhebb", "sgd")])
def test_the_learning_rate_is_that_of_a_run_with_the_same_optimizer(rule: str, optimizer: str) -> None:
    settings = {"rule": rule, "model": "mlp", "data": "faces", "optimizer": {"name": optimizer}}
    run = resolve_run(settings, Registry.load(allow=[]), network_only=True)
    assert small(rule, optimizer=optimizer).optimizers.config.lr == run.config.optimizer.lr


@pytest.mark.parametrize("config", [{"bta": 1.0}, {"beta": "much"}, {"preset": "papr"}])
def test_options_that_do_not_fit_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        small("hsic", config=config)


@pytest.mark.parametrize(
    ("rule", "config", "message"),
    [
        ({"*": "hsic"}, {"beta": 10}, "the mixture has no part 'beta'"),
        (Backprop(), {"nonsense": 3}, "the options of Backprop are those that it was made with"),
    ],
)
def test_options_that_nothing_would_read_are_refused(rule: object, config: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(rule, config=config)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.zeros(16, 1, dtype=torch.int64), r"the labels have the shape \(16, 1\)"),
        (torch.zeros(7, dtype=torch.int64), r"the labels have the shape \(7,\)"),
        (torch.full((16,), 4), "label 4 is of no class"),
        (torch.full((16,), -1), "label -1 is of no class"),
    ],
)
@pytest.mark.parametrize("rule", ["hsic", "backprop"])
def test_labels_that_do_not_fit_are_refused(rule: str, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small(rule).step(torch.randn(16, 1, 16, 16), labels)


def test_labels_may_be_of_any_type_of_integers() -> None:
    one, other = small("local-ce"), small("local-ce")
    images, labels = torch.randn(16, 1, 16, 16), torch.arange(16) % 4
    assert one.step(images, labels).loss == other.step(images, labels.to(torch.int32)).loss


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_a_state_that_is_loaded_has_the_learning_rate(optimizer: str) -> None:
    first, second = (small("local-ce", optimizer=optimizer, lr=0.1) for _ in range(2))
    one, other = (batches().batch(step) for step in (0, 1))
    first.step(one.images, one.labels)
    first.optimizers.set_learning_rate(1e-4)
    second.load_state_dict(deepcopy(first.state_dict()))  # torch's optimizers keep the tensors that they load
    assert second.optimizers.learning_rate == pytest.approx(1e-4)
    for learner in (first, second):
        learner.step(other.images, other.labels)
    for ours, theirs in zip(first.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_state_that_is_loaded_goes_on_with_the_same_bits() -> None:
    whole, first, second = (small("local-ce") for _ in range(3))
    for step in range(4):
        batch = batches().batch(step)
        whole.step(batch.images, batch.labels)
        (first if step < 2 else second).step(batch.images, batch.labels)
        if step == 1:
            second.load_state_dict(first.state_dict())
    for one, other in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_operations_are_listed_with_layer_key_and_weight_and_can_be_replaced() -> None:
    learner = small("backprop")
    images = batches().batch(0).images
    listed = learner.network.operations(images)
    assert [operation.layer.name for operation in listed] == [layer.name for layer in learner.network.layers]  # type: ignore[union-attr]
    assert len({operation.key for operation in listed}) == len(listed)
    assert [operation.weight.shape for operation in listed] == [(12, 256), (8, 12), (4, 8)]
    with learner.network.intercept_operations(lambda operation: torch.zeros_like(operation.run())):
        assert not learner.network(images).any()


def test_the_statistics_of_a_norm_without_weights_stand_still_in_a_frozen_layer() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8, affine=False), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 3))
    model[0].requires_grad_(False)
    images, labels = torch.randn(6, 6), torch.arange(6) % 3
    Learner(model, "local-ce", example=images, num_classes=3).step(images, labels)
    assert model[1].num_batches_tracked == 0


def test_gradients_of_the_users_own_backward_pass_are_left_out_of_a_step() -> None:
    ends = []
    for probes in (False, True):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
        images, labels = torch.randn(6, 6), torch.arange(6) % 3
        learner = Learner(model, "hsic", example=images, num_classes=3, optimizer={"name": "sgd", "lr": 0.1})
        for _ in range(3):
            learner.step(images, labels)
            if probes:
                nn.functional.cross_entropy(model(images), labels).backward()
        ends.append([parameter.detach().clone() for parameter in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


def test_predictions_are_made_in_the_precision_of_steps() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    images = torch.randn(6, 6)
    precision = partial(torch.autocast, "cpu", torch.bfloat16)
    learner = Learner(model, "backprop", example=images, num_classes=3, precision=precision)
    assert learner.predict(images).dtype == torch.bfloat16
