"""Three steps, a checkpoint, a new session, three more: the bits of six steps without a break."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.exhaustive import few
from helpers.plain_networks import Residual
from helpers.tiny_sessions import RULES, as_model, dense, perceptron, state, train
from torch import Tensor

from localrules import Layer, LayerView, Objective, RuleConfig
from localrules.engine import checkpoint
from localrules.engine.session import Session
from localrules.engine.weights_file import weights_sha256
from localrules.errors import LocalRulesError, UsageError
from localrules.testing.conformance.sessions import build_session, toy_dataset

pytestmark = pytest.mark.slow

LAST = ("adam", "adamw", "sgd", "muon")


def optimizer_state(session: Session) -> dict[str, Tensor]:
    return {
        f"{layer} {index} {name}": value
        for layer, found in session.optimizers.state_dict().items()
        for index, values in found["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }


def assert_resumes(build: Any, folder: Path, at: int = 3) -> None:
    unbroken, first, second = build(), build(), build()
    train(unbroken)
    train(first, 0, at)
    checkpoint.save(folder, first, {"step": at})
    progress = checkpoint.restore(folder, second)
    assert progress == {"step": at}
    train(second, at)
    ones = state(unbroken) | optimizer_state(unbroken)
    others = state(second) | optimizer_state(second)
    assert list(ones) == list(others)
    assert [name for name in ones if not torch.equal(ones[name], others[name])] == []


@pytest.mark.parametrize("optimizer", LAST)
@pytest.mark.parametrize("rule", few(RULES, {"hsic", "local-ce"}))
def test_a_resumed_run_ends_with_the_bits_of_an_unbroken_one(rule: str, optimizer: str, tmp_path: Path) -> None:
    settings = {"name": optimizer, "weight_decay": 0.01, "grad_clip_norm": 1.0}
    assert_resumes(lambda: dense(RULES[rule], optimizer=settings, schedule={"name": "one-cycle"}), tmp_path)


HEADS_GO_ON = (
    {"name": "hidden", "train_layers": "hidden", "fraction": 2},
    {"name": "readout", "train_layers": "readout", "auxiliary": True, "fraction": 1},
)


@pytest.mark.parametrize("phases", ["two-phase", HEADS_GO_ON], ids=["two-phase", "heads go on"])
@pytest.mark.parametrize("at", [2, 4, 5])
def test_across_phases_and_epochs(at: int, phases: Any, tmp_path: Path) -> None:
    # 32 images in batches of 16: a new order every other step; four steps of the hidden layers, two of the readout.
    assert_resumes(lambda: perceptron(RULES["local-ce"], phases=phases), tmp_path, at)


def test_with_dropout_and_augmentation(tmp_path: Path) -> None:
    augment = {"flip": True, "shift": 2, "rotation": 10.0, "scale": 0.1, "erase_size": 0.3}
    model = as_model(Residual)
    assert_resumes(lambda: build_session(RULES["hsic"], model, toy_dataset(), augment=augment), tmp_path)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_in_parts_and_half_precision(precision: str, tmp_path: Path) -> None:
    assert_resumes(lambda: dense(RULES["local-ce"], granularity=2, precision=precision), tmp_path)


@pytest.mark.parametrize("rule", ["local-ce", "backprop"])
def test_the_scales_of_losses_are_resumed(rule: str, tmp_path: Path) -> None:
    def build() -> Session:
        made = perceptron(RULES[rule], precision="fp16")
        for parameter in made.network.layers[0].parameters():
            parameter.register_hook(lambda gradient: gradient * float("inf"))  # its scale is halved in each step
        return made

    first, second = build(), build()
    train(first, 0, 3)
    checkpoint.save(tmp_path, first, {"step": 3})
    checkpoint.restore(tmp_path, second)
    assert first.loss_scaling is not None
    assert second.loss_scaling is not None
    known = first.loss_scaling.state_dict()
    assert 65536.0 / 8 in {scale["scale"] for scale in known.values() if scale}
    assert second.loss_scaling.state_dict() == known


class Counts(Objective):
    """A rule with state of its own."""

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, view: LayerView) -> Tensor:
        with torch.no_grad():
            self.mean.mul_(0.9).add_(view.output.mean(), alpha=0.1)
        return (view.output.mean(0) - self.mean).square().mean()


def test_a_rules_own_state_is_kept(tmp_path: Path) -> None:
    assert_resumes(lambda: perceptron(Counts), tmp_path)


def test_a_checkpoint_holds_plain_row_major_weights_of_the_plain_model(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    session = dense(RULES["hsic"], granularity=2)
    train(session, 0, 1)
    checkpoint.save(tmp_path, session, {"step": 1})
    weights = load_file(tmp_path / checkpoint.WEIGHTS)
    assert sorted(weights) == sorted(session.network.model.state_dict())
    for name, tensor in session.network.model.state_dict().items():
        assert torch.equal(weights[name], tensor)
    fresh = dense(RULES["hsic"])
    fresh.network.model.load_state_dict(weights)
    assert weights_sha256(fresh.network) == weights_sha256(session.network)


def test_the_hash_of_weights_does_not_see_the_memory_layout_and_sees_everything_else() -> None:
    one, other = (dense(RULES["hsic"], channels_last=last) for last in (True, False))
    assert weights_sha256(one.network) == weights_sha256(other.network)
    with torch.no_grad():
        other.network.model.stem.weight[0, 0, 0, 0] += 1e-6
    assert weights_sha256(one.network) != weights_sha256(other.network)


def test_without_a_checkpoint_there_is_nothing_to_restore(tmp_path: Path) -> None:
    session = perceptron(RULES["hsic"])
    assert checkpoint.restore(tmp_path, session) is None
    with pytest.raises(UsageError, match="no checkpoint yet"):
        checkpoint.load_weights(tmp_path, session.network, session.rule)


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    session = perceptron(RULES["hsic"])
    checkpoint.save(tmp_path, session, {"step": 0})
    path = tmp_path / checkpoint.STATE
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(LocalRulesError, match="checkpoint cannot be loaded") as found:
        checkpoint.restore(tmp_path, session)
    assert str(path) in found.value.where


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, perceptron(RULES["hsic"]), {"step": 0})
    with pytest.raises(LocalRulesError, match="checkpoint cannot be loaded"):
        checkpoint.restore(tmp_path, dense(RULES["hsic"]))


def kept(session: Session) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in (state(session) | optimizer_state(session)).items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("place", few(range(60), {str(place) for place in range(0, 60, 4)}))
def test_a_flipped_bit_is_an_error_or_changes_nothing(tmp_path: Path, place: int) -> None:
    session = perceptron(RULES["local-ce"])
    train(session, 0, 1)
    checkpoint.save(tmp_path / "checkpoints", session, {"step": 1})
    before = kept(session)
    for name in (checkpoint.STATE, checkpoint.WEIGHTS):
        path = tmp_path / "checkpoints" / name
        whole = path.read_bytes()
        at = len(whole) * place // 60 + place
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << place % 8]) + whole[at + 1 :])
        loads = {
            checkpoint.STATE: lambda: checkpoint.restore(tmp_path / "checkpoints", session),
            checkpoint.WEIGHTS: lambda: checkpoint.load_weights(tmp_path, session.network, session.rule),
        }
        with contextlib.suppress(LocalRulesError):
            loads[name]()
        assert equal(kept(session), before)
        path.write_bytes(whole)


def test_the_checkpoint_before_is_kept_and_offered(tmp_path: Path) -> None:
    session = perceptron(RULES["hsic"])
    train(session, 0, 1)
    checkpoint.save(tmp_path, session, {"step": 1})
    first = kept(session)
    train(session, 1, 2)
    checkpoint.save(tmp_path, session, {"step": 2})
    path = tmp_path / checkpoint.STATE
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(LocalRulesError) as damaged:
        checkpoint.restore(tmp_path, session)
    assert checkpoint.PREVIOUS in damaged.value.fix
    path.unlink()
    assert checkpoint.restore(tmp_path, session) == {"step": 1}
    assert equal(kept(session), first)


def test_weights_and_rule_of_two_steps_are_never_mixed(tmp_path: Path) -> None:
    """A kill between the two files leaves weights of the step before."""
    folder = tmp_path / "checkpoints"
    session = perceptron(RULES["local-ce"])
    train(session, 0, 1)
    checkpoint.save(folder, session, {"step": 1})
    old = (folder / checkpoint.WEIGHTS).read_bytes()
    train(session, 1, 2)
    checkpoint.save(folder, session, {"step": 2})
    expected = state(session)
    (folder / checkpoint.WEIGHTS).write_bytes(old)
    fresh = perceptron(RULES["local-ce"])
    checkpoint.load_weights(tmp_path, fresh.network, fresh.rule)
    assert equal(dict(state(fresh)), dict(expected))


def test_files_have_the_permissions_that_the_umask_gives(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        checkpoint.save(tmp_path, perceptron(RULES["hsic"]), {"step": 0})
    finally:
        os.umask(mask)
    for name in (checkpoint.STATE, checkpoint.WEIGHTS):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


@pytest.mark.parametrize("optimizer", LAST)
def test_an_optimizers_state_of_another_shape_is_refused(tmp_path: Path, optimizer: str) -> None:
    session = perceptron(RULES["local-ce"], optimizer={"name": optimizer})
    train(session, 0, 1)
    checkpoint.save(tmp_path, session, {"step": 1})
    content = torch.load(tmp_path / checkpoint.STATE, weights_only=True)
    found = next(iter(content["optimizers"].values()))["state"]
    for values in found.values():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.dim():
                values[name] = value.flatten()[:1].clone()
    torch.save(content, tmp_path / checkpoint.STATE)
    with pytest.raises(LocalRulesError, match="cannot be loaded") as refused:
        checkpoint.restore(tmp_path, session)
    assert "does not fit" in refused.value.why
