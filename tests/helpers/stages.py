"""Processes that divide the layers of one run after the other, and what one process makes of the same runs."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.process_groups import Groups, Send, in_processes
from helpers.tiny_sessions import as_model
from localrules.callbacks.callback_list import CallbackList
from localrules.config.schema import RunConfig
from localrules.config.settings import Settings
from localrules.config.validate import validate_config
from localrules.core.layer_spec import LayerSpec
from localrules.engine import checkpoint
from localrules.engine.network_cache import NetworkCache
from localrules.engine.pipeline.stage_trainer import trainer_of
from localrules.engine.resolve import resolve_config
from localrules.engine.session import Session
from localrules.engine.trainer import Trainer
from localrules.registry.registry import Registry
from localrules.testing.conformance.sessions import StaticRegistry, toy_dataset

DATASET = toy_dataset(samples=12, shape=(1, 16, 16))
MODELS: dict[str, dict[str, Any]] = {
    "vgg8b": {"width": 0.03125, "hidden": [16], "dropout": 0.2},
    "resnet20": {"width": 4, "blocks": [1, 1, 1]},
    "dense_fpn_small": {"blocks": 2, "convolutions": 2, "growth": 4, "stem": 8, "lateral": 8},
}


class DrawsBetween(nn.Module):
    """Dropout between the layers, also in front of one that does not read the layer before it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Flatten(), nn.Linear(256, 16))
        self.second, self.third, self.fourth = nn.Linear(16, 8), nn.Linear(16, 8), nn.Linear(8, 8)
        self.readout = nn.Linear(16, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        first = functional.dropout(self.first(images), 0.2, self.training)
        second = functional.dropout(self.second(first), 0.2, self.training)
        third = self.third(functional.dropout(first, 0.2, self.training))
        logits: Tensor = self.readout(torch.cat([second, self.fourth(third)], 1))
        return logits


NETWORKS = NetworkCache()
LAYERS = LayerSpec(layers=["net.first", "net.second", "net.third", "net.fourth"], readout="net.readout")


@dataclass(frozen=True)
class Case:
    """A run to take in several processes and in one.

    Attributes:
        rule: The rule's name; or the parts of a mixture, with their patterns.
        model: One of ``MODELS``, or ``DrawsBetween``.
        settings: Settings of the run.
    """

    rule: Any
    model: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        said = (f"{name} {value}" if name == "granularity" else name for name, value in self.settings)
        return " ".join([str(self.rule), self.model, *said])


@cache
def registry() -> Registry:
    """Our own plugins."""
    return Registry.load(allow=[])


def session(case: Case, devices: int, **settings: Any) -> Session:
    """A session of a case, on this process alone or with the others, which divide the layers if not set otherwise."""
    tree = {
        "rule": case.rule if isinstance(case.rule, dict) else {"name": case.rule},
        "model": {"name": case.model, **MODELS.get(case.model, {})},
        "data": {"name": DATASET.name},
        "steps": 6,
        "batch_size": 6,
        "device": "cpu",
        "devices": devices,
        "parallel": "layers",
        "schedule": {"name": "constant"},
        "checkpoint_every": 100,
        **dict(case.settings),
        **settings,
    }
    config = validate_config(RunConfig, Settings.from_tree(tree))
    known: Any = registry()
    if case.model not in MODELS:
        known = StaticRegistry(known.resolve("rule", case.rule), as_model(DrawsBetween, LAYERS))
    return Session.build(resolve_config(config, known, network_only=True), DATASET, join=devices > 1, networks=NETWORKS)


def train(case: Case, devices: int, **settings: Any) -> tuple[str, Trainer]:
    """A digest of the whole state after a run, and its trainer."""
    with tempfile.TemporaryDirectory() as place:
        found = session(case, devices, **settings)
        trainer = trainer_of(found, CallbackList([]), Path(place), {})
        trainer.run()
        return digest(checkpoint.session_state(found, {})), trainer


def digest(state: Any) -> str:
    """A hash of the values in a tree of tensors and numbers."""
    found = hashlib.sha256()
    for leaf in torch.utils._pytree.tree_leaves(state):
        found.update(leaf.contiguous().numpy().tobytes() if isinstance(leaf, torch.Tensor) else repr(leaf).encode())
    return found.hexdigest()


@dataclass(frozen=True)
class Found:
    """The comparison of a case.

    Attributes:
        equal: Whether the state is that of one process, bit for bit.
        stages: The time of a step in each stage.
    """

    equal: bool
    stages: list[float] | None


def compare_stages(cases: Sequence[Case], count: int) -> dict[str, Found]:
    """Train all cases in some processes, and in one of them alone."""
    sent = in_processes([count], _compare, tuple(cases), count, messages=len(cases))
    return {str(case): main for case, (main, *_) in zip(cases, sent, strict=True)}


def _compare(groups: Groups, send: Send, cases: Sequence[Case], count: int) -> None:
    groups.join(count)
    for case in cases:
        together, trainer = train(case, count)
        alone = train(case, 1)[0] if groups.rank == 0 else together
        send(Found(together == alone, trainer.stage_seconds))
