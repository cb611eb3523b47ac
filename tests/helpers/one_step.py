"""The gradients of a rule in one step of a session, without stepping the optimizers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules.core.rule import StepReport
from localrules.core.view import Batch
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import StepContext


class _Open:
    """A context in which nothing is stepped, so that gradients stay."""

    def __init__(self, session: Session) -> None:
        inner = StepContext(session, session.phases[0])
        self.is_trainable, self.autocast, self.submit = inner.is_trainable, inner.autocast, inner.submit
        self.is_objective_trainable, self.backward = inner.is_objective_trainable, inner.backward

    def step_layer(self, layer: Any) -> None:
        pass


def first_batch(session: Session) -> Batch:
    """In float64."""
    batch = session.batches.batch(0)
    return Batch(batch.images.double(), batch.labels, len(session.data.classes))


def gradients_in_double(session: Session) -> tuple[dict[str, Tensor], StepReport]:
    """Gradients by parameter, the rule's own under ``rule.``, of the first batch, without dropout; and the report."""
    rule = session.rule.double()
    _begin(session)
    torch.manual_seed(0)
    report = rule.step(session.network, first_batch(session), _Open(session))
    return _gradients(session), report


def step_in_double(session: Session) -> StepReport:
    """Take the first step, optimizers and all."""
    rule = session.rule.double()
    _begin(session)
    return rule.step(session.network, first_batch(session), StepContext(session, session.phases[0]))


def by_autograd(session: Session) -> dict[str, Tensor]:
    """Gradients of the cross-entropy, by parameter, for the same batch."""
    _begin(session)
    batch = first_batch(session)
    functional.cross_entropy(session.network(batch.images), batch.labels).backward()
    return _gradients(session)


def _begin(session: Session) -> None:
    apply_phase(session.phases[0], session.network.double(), session.trainable)
    for module in session.network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def _gradients(session: Session) -> dict[str, Tensor]:
    named = {
        **dict(session.network.model.named_parameters()),
        **{f"rule.{name}": weight for name, weight in session.rule.named_parameters()},
    }
    return {name: weight.grad for name, weight in named.items() if weight.grad is not None}
