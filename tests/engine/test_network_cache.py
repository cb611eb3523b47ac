"""Sessions that begin with a copy of one network are those that build it."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from localrules.core.model import Model
from localrules.engine.network_cache import NetworkCache
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.testing import build_session, toy_dataset
from localrules_classics.mlp import MLP
from localrules_fer.models.dense_fpn import DenseFPN
from localrules_hsic.hsic_projected import ProjectedHSIC

DATA = toy_dataset()
NETWORKS: list[tuple[type[Model], dict[str, Any]]] = [
    (MLP, {"hidden": (8, 7, 6), "dropout": 0.5}),
    (DenseFPN, {"blocks": 1, "convolutions": 2, "growth": 2, "stem": 2, "lateral": 4}),
]


def session(model: type[Model], options: dict[str, Any], networks: NetworkCache | None, **settings: Any) -> Session:
    # The rule draws its projections after the network drew its weights.
    return build_session(ProjectedHSIC, model, DATA, model_options=options, networks=networks, **settings)


def trained(built: Session) -> dict[str, Tensor]:
    train_steps(built, 3)
    return {**built.network.model.state_dict(), **built.rule.state_dict()}


@pytest.mark.slow
@pytest.mark.parametrize("granularity", ["layer", 2, "window:2"])
@pytest.mark.parametrize(("model", "options"), NETWORKS)
def test_they_train_to_the_same_bits(model: type[Model], options: dict[str, Any], granularity: Any) -> None:
    networks = NetworkCache()
    alone = trained(session(model, options, None, granularity=granularity))
    for _ in range(3):  # also after a session was trained
        torch.manual_seed(77)
        copy = trained(session(model, options, networks, granularity=granularity))
        assert list(copy) == list(alone)
        assert all(torch.equal(copy[name], value) for name, value in alone.items())


def test_another_seed_option_or_granularity_is_another_network() -> None:
    networks = NetworkCache()
    first = session(MLP, {"hidden": (8, 6)}, networks)
    assert not torch.equal(weight(first), weight(session(MLP, {"hidden": (8, 6)}, networks, seed=1)))
    assert len(session(MLP, {"hidden": (8,)}, networks).network.layers) == 2
    assert len(session(MLP, {"hidden": (8, 6)}, networks, granularity=1).network.layers) == 2
    assert len(session(MLP, {"hidden": (8, 6)}, networks).network.layers) == 3


def weight(built: Session) -> Tensor:
    return next(built.network.parameters())


def test_a_network_that_cannot_be_copied_is_built_each_time() -> None:
    class Locked(MLP):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.lock = threading.Lock()

    networks = NetworkCache()
    first, second = (session(Locked, {"hidden": (8, 6)}, networks) for _ in range(2))
    assert first.network.model is not second.network.model
    assert torch.equal(weight(first), weight(second))
