"""Two processes that train every rule together, and what one process alone makes of the same runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor, nn

from helpers.process_groups import Groups, Send, in_processes
from helpers.tiny_sessions import as_model
from localrules.config.schema import RunConfig
from localrules.config.settings import Settings
from localrules.config.validate import validate_config
from localrules.core.layer_spec import LayerSpec
from localrules.engine.network_cache import NetworkCache
from localrules.engine.resolve import resolve_config
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import StaticRegistry, toy_dataset

STEPS = 20
REPEATED = 3  # steps that are taken twice
DATASET = toy_dataset(samples=24, shape=(1, 8, 8))
LAYERS = LayerSpec(layers=["net.first", "net.second"], readout="net.readout")
SHORT = {"equilibrium-propagation": {"free_steps": 4, "nudged_steps": 2}}
ADAM = {"name": "adam", "lr": 1e-4}
OPTIMIZERS = {"synthetic-gradients": ADAM}  # its loss is divided by tiny numbers, which SGD does not survive


class Chain(nn.Module):
    """Two convolutions without norm, which every rule can train."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Tanh())
        self.readout = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.second(self.first(images)))
        return logits


class Regularized(nn.Module):
    """Layers with batch norm and dropout."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        conv = nn.Conv2d(1, 4, 3, padding=1)
        self.first = nn.Sequential(conv, nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout2d(0.3))
        self.second = nn.Sequential(nn.Flatten(), nn.Linear(256, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.3))
        self.readout = nn.Linear(6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.second(self.first(images)))
        return logits


class Attentive(nn.Module):
    """Attention with dropout, of torch's module for several heads and of its function, and an instance norm."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)
        )
        self.second = SelfAttention()
        self.readout = nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.readout(self.second(self.first(images).flatten(2).transpose(1, 2)))
        return logits


class SelfAttention(nn.Module):
    """Twice, by torch's module and by its function."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.3, batch_first=True)
        self.project = nn.Linear(4, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        query, key, value = self.project(tokens).chunk(3, -1)
        return tokens + nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=0.3 * self.training)


MODELS = {
    "Attentive": as_model(Attentive, LAYERS),
    "Chain": as_model(Chain, LAYERS),
    "Regularized": as_model(Regularized, LAYERS),
}
NETWORKS = NetworkCache()


@dataclass(frozen=True)
class Case:
    """A run to take on two processes and on one.

    Attributes:
        rule: The rule's name.
        model: ``Chain``, ``Regularized`` or ``Attentive``.
        options: Options of the rule.
        settings: Settings of the run.
    """

    rule: str
    model: str = "Chain"
    options: tuple[tuple[str, Any], ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.rule, self.model, *(f"{name}={value}" for name, value in self.options + self.settings)])


def session(case: Case, devices: int) -> Session:
    """A session of a case, on this process alone or with the others."""
    rule = registry().resolve("rule", case.rule)
    tree = {
        "rule": {"name": case.rule, **SHORT.get(case.rule, {}), **dict(case.options)},
        "model": {"name": case.model},
        "data": {"name": DATASET.name},
        "steps": STEPS,
        "batch_size": 12,
        "device": "cpu",
        "devices": devices,
        "sync_batchnorm": True,
        "schedule": {"name": "constant"},
        # Adam makes steps of rounding errors where a gradient is zero.
        "optimizer": OPTIMIZERS.get(case.rule, {"name": "sgd", "lr": 5e-4}),
        **dict(case.settings),
    }
    config = validate_config(RunConfig, Settings.from_tree(tree))
    static: Any = StaticRegistry(rule, MODELS[case.model])
    return Session.build(
        resolve_config(config, static, network_only=True), DATASET, join=devices > 1, networks=NETWORKS
    )


@cache
def registry() -> Registry:
    """Our own plugins."""
    return Registry.load(allow=[])


def state(session: Session) -> dict[str, Tensor]:
    """The state of network and rule, copied, by name."""
    network, rule = session.network.model.state_dict(), session.rule.state_dict()
    return {name: value.clone() for name, value in [*network.items(), *((f"rule {k}", v) for k, v in rule.items())]}


@dataclass(frozen=True)
class Found:
    """The comparison of a case.

    Attributes:
        equal_ranks: Whether both processes end with the same bits.
        repeatable: Whether both end with these bits when they train again.
        differences: Relative difference of each tensor of state to that of one process, by name.
    """

    equal_ranks: bool
    repeatable: bool
    differences: dict[str, float]


def compare_ranks(cases: Sequence[Case]) -> dict[str, Found]:
    """Train all cases in two processes, and in one of them alone."""
    found = {}
    for case, sent in zip(cases, in_processes([2], _compare, tuple(cases), messages=len(cases)), strict=True):
        (digest, repeatable, differences), (other, again, _) = sent
        found[str(case)] = Found(digest == other, repeatable and again, differences)
    return found


def _compare(groups: Groups, send: Send, cases: Sequence[Case]) -> None:
    groups.join(2)
    for case in cases:
        together, again = session(case, devices=2), session(case, devices=2)
        train_steps(together, REPEATED)
        train_steps(again, REPEATED)
        repeatable = _digest(state(together)) == _digest(state(again))
        train_steps(together, STEPS - REPEATED, start=REPEATED)
        found, differences = state(together), {}
        if groups.rank == 0:
            alone = session(case, devices=1)
            train_steps(alone)
            differences = {name: relative_difference(found[name], value) for name, value in state(alone).items()}
        send((_digest(found), repeatable, differences))


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference of two tensors, relative to that of the second."""
    found, expected = found.double(), expected.double()
    return float((found - expected).norm() / expected.norm().clamp_min(1e-4))


def _digest(state: dict[str, Tensor]) -> str:
    content = b"".join(value.contiguous().numpy().tobytes() for value in state.values())
    return hashlib.sha256(content).hexdigest()
