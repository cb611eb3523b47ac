"""The highest rung of a rule: full control over one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from localrules.core.base import RuleBase
from localrules.core.layer import Layer, Locality
from localrules.core.view import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from localrules.core.network import Network


@dataclass
class StepReport:
    """What a step found, detached.

    Attributes:
        objectives: Each learning layer's objective, a scalar tensor by layer name.
        logits: The network's output on the batch, shape (batch, classes), or ``None`` if the step computed none.
        loss: Cross-entropy of the readout, or ``None``.
        metrics: What else the rule measured, a scalar tensor each, by ``<name>/<layer>``; the names are those that it
            declares in ``metrics``.
    """

    objectives: dict[str, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None
    loss: Tensor | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)


class Context(Protocol):
    """What the engine offers to a rule during a step."""

    def is_trainable(self, layer: Layer) -> bool:
        """Whether the layer learns in the present phase."""

    def is_objective_trainable(self, layer: Layer) -> bool:
        """Whether the layer's auxiliary modules learn: with the layer, or in a phase that has them do so alone."""

    def step_layer(self, layer: Layer) -> None:
        """Say that the gradients of this layer are complete: the engine averages, clips and steps."""

    def submit(self, layer: Layer, work: Callable[[], None]) -> None:
        """Have a layer learn: now, or on another thread while the pass goes on (``parallel_layers``).

        Args:
            layer: Whose parameters and gradients the work alone writes to.
            work: Computes them and calls :meth:`ready`; nothing else in the step may wait for it. Contexts of torch
                that the caller is in (gradients, autocast) are not its own.
        """

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision, if the run asked for it. Enter it around forward passes, not around backward."""


class Rule(RuleBase, ABC):
    """Turns one batch into parameter gradients: fills ``.grad`` with descent directions, and never steps an optimizer.

    Being a module, feedback matrices, inverse networks and running means that it registers are moved and saved for
    free.

    Attributes:
        Config, requires, locality, presets, run_defaults, model_defaults: As for :class:`~localrules.Objective`. A rule
            that says nothing of its locality claims none: ``backprop``.
    """

    locality: ClassVar[Locality] = "backprop"

    def prepare(self, network: Network, num_classes: int) -> None:
        """Called once, before the first step or the loading of a checkpoint: build what depends on the network."""

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """Parameters of the rule's own that learn with this layer (an auxiliary head), for the layer's optimizer."""
        return ()

    def buffers_for(self, layer: Layer) -> Iterable[Tensor]:
        """Buffers of the rule's own that belong to this layer: what an audit takes for something the layer has learnt.

        By default those whose name has the layer's as a part, dots spelt as slashes; see
        :func:`localrules.core.rule.state_key`.
        """
        return (buffer for name, buffer in self.named_buffers() if is_state_of(name, layer))

    @abstractmethod
    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One step: leave gradients in ``.grad`` and call ``context.step_layer(layer)`` for each layer that has them."""

    def predict(self, network: Network, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes). Overridden by rules that classify in another way."""
        return network(images)


def state_key(layer: Layer, end: int = 0) -> str:
    """A name for a module or a buffer that a rule keeps for one end of a layer.

    Names of modules and buffers may not hold dots, and what is named so is known as the layer's own: see
    :meth:`localrules.Rule.buffers_for`.
    """
    return f"{_escaped_name(layer)}#{end}"


def is_state_of(name: str, layer: Layer) -> bool:
    """Whether a part of a tensor's dotted name is the layer's, as :func:`state_key` spells it, with or without end."""
    return any(part.partition("#")[0] == _escaped_name(layer) for part in name.split("."))


def _escaped_name(layer: Layer) -> str:
    return layer.name.replace(".", "/")
