"""Processes that divide the layers of one run after the other, and what one process makes of the same runs."""

from __future__ import annotations

import hashlib
import os
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

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
from localrules.utils.child_process import fork_server

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
        return " ".join([str(self.rule), self.model, *(name for name, _ in self.settings)])


@cache
def registry() -> Registry:
    """Our own plugins."""
    return Registry.load(allow=[])


def session(case: Case, devices: int) -> Session:
    """A session of a case, on this process alone or with the others."""
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
    }
    config = validate_config(RunConfig, Settings.from_tree(tree))
    known: Any = registry()
    if case.model not in MODELS:
        known = StaticRegistry(known.resolve("rule", case.rule), as_model(DrawsBetween, LAYERS))
    return Session.build(resolve_config(config, known, network_only=True), DATASET, join=devices > 1, networks=NETWORKS)


def train(case: Case, devices: int) -> tuple[str, Trainer]:
    """A digest of the whole state after a run, and its trainer."""
    with tempfile.TemporaryDirectory() as place:
        found = session(case, devices)
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
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = fork_server(["localrules.runs.train", "helpers.stages", "lightning_fabric"])
    links, processes = [], []
    for rank in range(count):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(rank, count, store.port, tuple(cases), theirs), daemon=True)
        process.start()
        theirs.close()
        links.append(ours)
        processes.append(process)
    found = {}
    for case in cases:
        main, *_ = [link.recv() for link in links]
        if isinstance(main, str):
            raise AssertionError(main)
        found[str(case)] = main
    for process in processes:
        process.join()
    return found


def _serve(rank: int, count: int, port: int, cases: Sequence[Case], link: Connection) -> None:
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0")
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    for case in cases:
        try:
            together, trainer = train(case, count)
            alone = train(case, 1)[0] if rank == 0 else together
            link.send(Found(together == alone, trainer.stage_seconds))
        except BaseException:
            link.send(traceback.format_exc())
            raise
