"""Tiny sessions of our own rules and models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.testing.conformance.sessions import build_session, toy_dataset
from localrules_backprop.backprop import Backprop
from localrules_backprop.checkpointed import BackpropCheckpointed
from localrules_classics.mlp import MLP
from localrules_fer.models.dense_fpn import DenseFPN
from localrules_hsic.hsic import HSIC
from localrules_hsic.hsic_normalized import NormalizedHSIC
from localrules_supervised.local_ce import LocalCrossEntropy

LOCAL_RULES = {"hsic": HSIC, "hsic-normalized": NormalizedHSIC, "local-ce": LocalCrossEntropy}
RULES = {**LOCAL_RULES, "backprop": Backprop, "backprop-checkpointed": BackpropCheckpointed}
DATASET = toy_dataset()
DENSE = {"blocks": 2, "convolutions": 2, "growth": 4, "stem": 8, "lateral": 8}
PERCEPTRON = {"hidden": (12, 10, 8)}


def dense(rule: type, *, data: Any = DATASET, model_options: dict[str, Any] | None = None, **settings: Any) -> Session:
    """A session of a tiny dense_fpn."""
    return build_session(rule, DenseFPN, data, model_options=DENSE | (model_options or {}), **settings)


def perceptron(rule: type, *, data: Any = DATASET, **settings: Any) -> Session:
    """A session of a tiny mlp."""
    return build_session(rule, MLP, data, model_options=PERCEPTRON, **settings)


class ReadTwice(nn.Module):
    """Later operations read the first and the second: if these are one layer, it has two outputs."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(9, 3), nn.Linear(3, 4), nn.Linear(3, 4)
        self.fourth, self.readout = nn.Linear(4, 5), nn.Linear(5, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        one = torch.tanh(self.first(images.flatten(1)))
        other = torch.tanh(self.second(one))
        return self.readout(torch.tanh(self.fourth(self.third(one) * other)))


READ_TWICE = LayerSpec(
    layers=["net.first", "net.second", "net.third", "net.fourth"],
    blocks=[("net.first", "net.second"), ("net.third", "net.fourth")],
    readout="net.readout",
)


def read_twice(rule: type, **settings: Any) -> Session:
    """A session of :class:`ReadTwice` in two hidden layers, the first of which has two outputs."""
    session = build_session(
        rule, as_model(ReadTwice, READ_TWICE), toy_dataset(shape=(1, 3, 3)), granularity="block", **settings
    )
    first = session.network.layers[0]
    assert (first.out_shapes, first.all_out_shapes) == (((4,),), ((3,), (4,)))
    return session


def as_model(plain: type[nn.Module], marks: Any = None) -> type[Model]:
    """A model class around a plain module, which then is cut by its graph, or by ``marks``."""

    class Plain(Model):
        Config = RuleConfig

        def __init__(self, config: RuleConfig, shape: tuple[int, ...], num_classes: int) -> None:
            super().__init__(config, shape, num_classes)
            self.net = plain(num_classes)
            if marks is not None:
                self.layer_spec = marks

        def forward(self, images: Tensor) -> Tensor:
            return self.net(images)

    return Plain


def train(session: Session, first: int = 0, last: int | None = None) -> None:
    """Take steps ``first`` to ``last`` (not included), through whatever phases they lie in."""
    last = session.total_steps if last is None else last
    for phase in session.phases:
        apply_phase(phase, session.network, session.trainable)
        for step in range(max(first, phase.start), min(phase.stop, last)):
            train_step(session, phase, step)


def state(session: Session) -> dict[str, Tensor]:
    """Every tensor of network and rule, copied."""
    tensors = {f"network.{name}": tensor for name, tensor in session.network.model.state_dict().items()}
    tensors |= {f"rule.{name}": tensor for name, tensor in session.rule.state_dict().items()}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}
