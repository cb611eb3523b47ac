"""Checks of one step: what it runs, what it writes to, what it leaves behind."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from localrules.core.interception import Forward, patch_forwards
from localrules.core.layer import Layer
from localrules.core.rule import StepReport
from localrules.core.view import Batch
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import StepResult, train_step
from localrules.testing.conformance.subject import NotApplicable, RuleUnderTest, abbreviate


def parameters_move_by_optimizers_alone(subject: RuleUnderTest) -> None:
    """A step fills gradients and writes to no parameter itself."""
    session = subject.session(subject.networks[-1])
    session.optimizers.step = lambda name: None  # type: ignore[method-assign]
    parameters = [*session.network.named_parameters(), *session.rule.named_parameters()]
    before = [parameter.detach().clone() for _, parameter in parameters]
    _one_step(session)
    moved = [name for (name, parameter), was in zip(parameters, before, strict=True) if not torch.equal(parameter, was)]
    assert not moved, f"written to without an optimizer: {abbreviate(moved)}"


def forward_passes_match_declaration(subject: RuleUnderTest) -> None:
    """No layer runs more often in a step than ``Requirements.forward_passes`` declares."""
    declared = subject.rule.info.requires.forward_passes
    if declared is None:
        raise NotApplicable("it declares that its forward passes depend on options")
    calls: Counter[str] = Counter()

    def count(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        calls[layer.name] += 1
        return forward(*args, **kwargs)

    session = subject.session(subject.networks[-1])
    with patch_forwards(session.network.layers, count):
        _one_step(session)
    most = max(calls.values(), default=0)
    assert most <= declared, f"a layer ran {most} times in a step; it declares Requirements(forward_passes={declared})"


def cached_values_are_detached(subject: RuleUnderTest) -> None:
    """Values cached for all layers of a step, and the step's report, have no graph."""
    session = subject.session(subject.networks[-1])
    seen: list[Batch] = []
    step = session.rule.step

    def watch(network: Any, batch: Batch, context: Any) -> StepReport:
        seen.append(batch)
        return step(network, batch, context)

    session.rule.step = watch  # type: ignore[method-assign]
    report = _one_step(session).report
    kept = {"a statistic of the batch": seen[0]._cache, "objectives": report.objectives, "metrics": report.metrics}
    kept |= {"logits": report.logits, "loss": report.loss}
    for what, tree in kept.items():
        tensors = [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]
        assert not any(tensor.requires_grad for tensor in tensors), f"{what}: not detached"


def no_graph_outlives_a_step(subject: RuleUnderTest) -> None:
    """After a step no layer's graph is alive: memory is freed, and nothing can flow into the next step."""
    session = subject.session(subject.networks[-1])
    alive: list[tuple[str, weakref.ref[_Token]]] = []

    def mark(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = _Token()
        alive.append((layer.name, weakref.ref(token)))
        return pytree.tree_map_only(Tensor, lambda tensor: _Marked.apply(tensor, token), forward(*args, **kwargs))

    with patch_forwards(session.network.layers, mark):
        taken = _one_step(session)
    if any(token() is not None for _, token in alive):
        gc.collect()  # a graph that only a cycle holds is free
    left = list(dict.fromkeys(layer for layer, token in alive if token() is not None))
    del taken  # what it reports may not hold a graph either
    assert not left, f"alive after the step: the graph of {abbreviate(left)}"


def _one_step(session: Session) -> StepResult:
    phase = session.phases[0]
    apply_phase(phase, session.network, session.trainable)
    return train_step(session, phase, phase.start)


class _Token:
    """Lives as long as the graph that it is put into."""


class _Marked(torch.autograd.Function):
    """The same values; its place in the graph holds a token."""

    @staticmethod
    def forward(tensor: Tensor, token: _Token) -> Tensor:
        return tensor.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.token = inputs[1]

    @staticmethod
    def backward(ctx: Any, error: Tensor) -> tuple[Tensor, None]:
        return error, None
