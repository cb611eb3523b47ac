"""Two ways to compute the same thing agree bit for bit."""

from __future__ import annotations

import pytest
import torch
from helpers.plain_networks import Residual
from helpers.tiny_sessions import LOCAL_RULES, RULES, as_model, dense, state, train
from torch import Tensor, nn
from torch.nn import functional

from localrules import LayerView, Model, Objective
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig
from localrules.engine.session import Session
from localrules.testing.conformance.sessions import build_session, toy_dataset

DATASET = toy_dataset()


def assert_same_bits(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert list(one) == list(other)
    different = [name for name in one if not torch.equal(one[name], other[name])]
    assert different == []


def trained(session: Session, steps: int = 4) -> dict[str, Tensor]:
    train(session, 0, steps)
    return state(session)


def weights(session: Session) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in session.network.model.state_dict().items()}


WHOLE = as_model(Residual, LayerSpec(layers=["net"], readout="net"))


def test_a_readout_that_holds_the_whole_network_learns_as_by_back_propagation() -> None:
    one = build_session(LOCAL_RULES["hsic"], WHOLE, DATASET)
    other = build_session(RULES["backprop"], as_model(Residual), DATASET)
    assert len(one.network.layers) == 1
    assert len(other.network.layers) == 7
    assert_same_bits(trained(one), trained(other))


class CrossEntropy(Objective):
    def forward(self, view: LayerView) -> Tensor:
        return functional.cross_entropy(view.output, view.labels)


class WithSpareReadout(Model):
    """A network, and behind it a readout that the comparison is not about."""

    Config = RuleConfig

    def __init__(self, config: RuleConfig, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        self.net, self.spare = Residual(num_classes), nn.Linear(num_classes, num_classes)
        self.layer_spec = LayerSpec(layers=["net"], readout="spare")

    def forward(self, images: Tensor) -> Tensor:
        return self.spare(self.net(images))


def test_one_layer_that_holds_the_whole_network_with_cross_entropy_learns_as_by_back_propagation() -> None:
    local = build_session(CrossEntropy, WithSpareReadout, DATASET)
    control = build_session(RULES["backprop"], WHOLE, DATASET)
    assert [layer.name for layer in local.network.hidden] == ["net"]
    ones = {name: tensor for name, tensor in trained(local).items() if "spare" not in name}
    assert_same_bits(ones, trained(control))


def plain_pytorch_step(session: Session, steps: int, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The loop that everyone writes."""
    model = session.network.model.train()
    for step in range(steps):
        batch = session.batches.batch(step)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        loss = functional.cross_entropy(model(images), batch.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weights(session)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_back_propagation_here_is_the_loop_that_everyone_writes(name: str) -> None:
    settings = {"name": name, "lr": 0.01, "weight_decay": 0.01}
    ours = dense(RULES["backprop"], optimizer=settings)
    train(ours, 0, 4)
    theirs = dense(RULES["backprop"], optimizer=settings)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[name]
    extra = {"momentum": 0.9} if name == "sgd" else {}
    optimizer = kind(theirs.network.model.parameters(), lr=0.01, weight_decay=0.01, fused=True, **extra)
    assert_same_bits(weights(ours), plain_pytorch_step(theirs, 4, optimizer))


@pytest.mark.parametrize("granularity", ["layer", "block", 3])
def test_checkpointing_changes_no_bit_of_gradients_and_statistics(granularity: str | int) -> None:
    plain = dense(RULES["backprop"], granularity=granularity)
    checkpointed = dense(RULES["backprop-checkpointed"], granularity=granularity)
    gradients: list[dict[str, Tensor]] = [{}, {}]
    for session, found in zip((plain, checkpointed), gradients, strict=True):
        for layer, optimizer in session.optimizers.by_layer.items():

            def note(optimizer: torch.optim.Optimizer, *_: object, at: str = layer, found: dict = found) -> None:
                parameters = optimizer.param_groups[0]["params"]
                found.update({f"{at} {index}": p.grad.clone() for index, p in enumerate(parameters)})

            optimizer.register_step_pre_hook(note)
    ones, others = trained(plain), trained(checkpointed)
    assert_same_bits(*gradients)
    assert_same_bits(ones, others)  # running means, variances and counts of batches among them
    assert int(ones["network.stem.norm.num_batches_tracked"]) == 4


@pytest.mark.parametrize("granularity", ["layer", 2])
def test_checkpointing_repeats_the_draws_of_dropout(granularity: str | int) -> None:
    model = as_model(Residual)
    sessions = [
        build_session(RULES[rule], model, DATASET, granularity=granularity)
        for rule in ("backprop", "backprop-checkpointed")
    ]
    assert_same_bits(*(trained(session) for session in sessions))


class SparesANorm(nn.Module):
    """Holds a batch norm that does not run, and one that averages over all batches."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.part = nn.ModuleDict({"conv": nn.Conv2d(1, 4, 3), "norm": nn.BatchNorm2d(4, momentum=None)})
        self.part["spare"] = nn.BatchNorm2d(4, affine=False)
        self.part.forward = self.run  # type: ignore[method-assign]
        self.fc = nn.Linear(4, classes)

    def run(self, x: Tensor) -> Tensor:
        return functional.relu(self.part["norm"](self.part["conv"](x))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.part(x))


def test_checkpointing_leaves_norms_alone_that_do_not_run() -> None:
    model = as_model(SparesANorm, LayerSpec(layers=["net.part"], readout="net.fc"))
    sessions = [build_session(RULES[rule], model, DATASET) for rule in ("backprop", "backprop-checkpointed")]
    assert_same_bits(*(trained(session) for session in sessions))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_stepping_each_layer_at_once_gives_the_bits_of_stepping_all_at_the_end(rule: str) -> None:
    at_once, at_the_end = (dense(RULES[rule], optimizer={"step_timing": step}) for step in ("layer", "pass"))
    assert_same_bits(trained(at_once), trained(at_the_end))


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
def test_the_same_session_built_twice_gives_the_same_bits(rule: str) -> None:
    assert_same_bits(trained(dense(RULES[rule])), trained(dense(RULES[rule])))


def test_another_seed_gives_other_bits() -> None:
    one, other = (trained(dense(RULES["hsic"], seed=seed)) for seed in (0, 1))
    assert not torch.equal(one["network.stem.weight"], other["network.stem.weight"])


def test_memory_layout_changes_rounding_at_most() -> None:
    one, other = (trained(dense(RULES["local-ce"], channels_last=last), 1) for last in (True, False))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-3, atol=1e-4)
