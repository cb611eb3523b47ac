"""Checks of one step: what it runs, what it writes to, what it leaves behind."""

from __future__ import annotations

import gc
import weakref
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from localrules.auditing.ownership import written_directly
from localrules.core.interception import Forward, patch_forwards
from localrules.core.layer import Layer
from localrules.core.rule import StepReport
from localrules.core.view import Batch
from localrules.engine.phases import apply_phase
from localrules.engine.step import train_step
from localrules.testing.conformance.subject import NotApplicable, Place, RuleUnderTest, abbreviate

OBSERVED = 3  # steps


def parameters_move_by_optimizers_alone(subject: RuleUnderTest) -> None:
    """A step fills gradients and writes to no parameter itself."""
    for place in subject.places:
        moved = written_directly(subject.session(place))
        assert not moved, f"on {place}, written to without an optimizer: {abbreviate(moved)}"


def forward_passes_match_declaration(subject: RuleUnderTest) -> None:
    """No layer runs more often in a step than ``Requirements.forward_passes`` declares."""
    declared = subject.rule.info.requires.forward_passes
    if declared is None:
        raise NotApplicable("it declares that its forward passes depend on options")
    for place in subject.places:
        most, declares = _observe(subject, place).passes, f"Requirements(forward_passes={declared})"
        assert most <= declared, f"on {place}, a layer ran {most} times in a step; it declares {declares}"


def cached_values_are_detached(subject: RuleUnderTest) -> None:
    """Values cached for all layers of a step, and the step's report, have no graph."""
    for place in subject.places:
        attached = _observe(subject, place).attached
        assert not attached, f"on {place}, {abbreviate(attached)}: not detached"


def no_graph_outlives_a_step(subject: RuleUnderTest) -> None:
    """After a step no layer's graph is alive: memory is freed, and nothing can flow into the next step."""
    for place in subject.places:
        alive = _observe(subject, place).alive
        assert not alive, f"on {place}, alive after the step: the graph of {abbreviate(alive)}"


@dataclass(frozen=True)
class _Observed:
    """Some steps in which no optimizer moves a parameter.

    Attributes:
        passes: Forward passes in a step of the layer that had most.
        attached: Values with a graph, of what layers share and of the report.
        alive: Layers whose graphs are alive after a step.
    """

    passes: int
    attached: tuple[str, ...]
    alive: tuple[str, ...]


@lru_cache(maxsize=8)
def _observe(subject: RuleUnderTest, place: Place) -> _Observed:
    """The first steps, observed for all checks at once: a rule may do otherwise from the second one on."""
    session = subject.session(place)
    session.optimizers.step = lambda name, scaler=None: False  # type: ignore[method-assign]
    passes: Counter[str] = Counter()
    tokens: list[tuple[str, weakref.ref[_Token]]] = []
    batches: list[Batch] = []
    step = session.rule.step

    def observe(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        passes[layer.name] += 1
        token = _Token()
        tokens.append((layer.name, weakref.ref(token)))
        return pytree.tree_map_only(Tensor, lambda tensor: _Marked.apply(tensor, token), forward(*args, **kwargs))

    def watch(network: Any, batch: Batch, context: Any) -> StepReport:
        batches.append(batch)
        return step(network, batch, context)

    session.rule.step = watch  # type: ignore[method-assign]
    phase = session.phases[0]
    apply_phase(phase, session.network, session.trainable)
    most, attached, alive = 0, set[str](), dict[str, None]()
    for at in range(phase.start, min(phase.start + OBSERVED, phase.stop)):
        passes.clear()
        with patch_forwards(session.network.layers, observe):
            report = train_step(session, phase, at).report
        most = max(most, *passes.values(), 0)
        attached |= {*_attached(batches.pop(), report)}
        if any(token() is not None for _, token in tokens):
            gc.collect()  # a graph that only a cycle holds is free
        alive |= dict.fromkeys(layer for layer, token in tokens if token() is not None)
        del report  # what it holds may not have a graph either
    return _Observed(most, tuple(sorted(attached)), tuple(alive))


def _attached(batch: Batch, report: StepReport) -> Iterator[str]:
    """Names of values with a graph, of those that layers share and of the report."""
    kept = {"a statistic of the batch": batch._cache, "objectives": report.objectives, "metrics": report.metrics}
    for what, tree in {**kept, "logits": report.logits, "loss": report.loss}.items():
        if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in pytree.tree_leaves(tree)):
            yield what


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
