"""Rules: full control over one training step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor, nn

from localrules.core.base import RuleBase
from localrules.core.layer import Layer
from localrules.core.view import Batch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from matplotlib.figure import Figure

    from localrules.core.network import Network


@dataclass
class StepReport:
    """The results of a step, detached.

    Attributes:
        objectives: Each learning layer's objective, a scalar tensor by layer name.
        logits: The network's output on the batch, shape (batch, classes), or ``None`` if the step computed none.
        loss: Cross-entropy of the readout, or ``None``.
        metrics: What else the rule measured, a scalar tensor each, by ``<name>/<layer>``.
        labels: The labels of ``logits``, shape (batch,), if these are not the batch's.
    """

    objectives: dict[str, Tensor] = field(default_factory=dict)
    logits: Tensor | None = None
    loss: Tensor | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None


class Context(Protocol):
    """The engine's interface for a rule during a step."""

    def is_trainable(self, layer: Layer) -> bool:
        """Whether the layer is trained in the current phase."""

    def is_objective_trainable(self, layer: Layer) -> bool:
        """Whether the layer's auxiliary modules are trained, with the layer or without it.

        Without it in a phase with ``auxiliary``, and where the layer's author froze all its parameters but
        :meth:`Rule.auxiliary_serves_others`.
        """

    def backward(self, loss: Tensor, layer: Layer | None = None) -> None:
        """The backward pass of a loss, which is scaled first where the run's precision (fp16) needs that.

        Gradients in ``.grad`` are then scaled, too, until :meth:`step_layer` divides them. A rule that computes all of
        them in this way declares ``RuleInfo(loss_scaling=True)``; others cannot be trained in fp16. In one step a layer
        learns from losses of its own or from losses of several layers, not from both; by the latter it is stepped once.

        Args:
            loss: A scalar.
            layer: The layer that it trains, if it is one: its scale is then its own.
        """

    def step_layer(self, layer: Layer) -> None:
        """Step the layer's optimizer: its gradients are complete. The engine averages and clips them first."""

    def submit(self, layer: Layer, work: Callable[[], None]) -> None:
        """Train a layer: now, or on another thread while the forward pass continues (``parallel_layers``).

        Args:
            layer: Whose parameters and gradients the work alone writes to.
            work: Computes them and calls :meth:`step_layer`; nothing else in the step may wait for it. The
                caller's contexts of torch (gradients, autocast) do not apply to it.
        """

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision, if the run asked for it. Enter it around forward passes, not around backward."""


class Rule(RuleBase, ABC):
    """Turns one batch into parameter gradients: fills ``.grad``, as ``loss.backward()`` does, and steps no optimizer.

    A rule is an ``nn.Module``: feedback weights, inverse networks and running means registered on it are moved and
    saved with the run.

    Args:
        config: The options; by default those of ``Config()``.

    Attributes:
        Config: The options, typed, each with a description.
        info: What the rule claims, needs and recommends.
        is_prepared: Whether it belongs to a network: :meth:`prepare` was called.
    """

    is_prepared = False

    def prepare(self, network: Network, num_classes: int) -> None:
        """Build what depends on the network. Called once, before the first step or the loading of a checkpoint."""

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """Parameters of the rule that are optimised together with this layer, such as those of an auxiliary head."""
        return ()

    def weights_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """Those of :meth:`parameters_for` that have to be stepped as the layer's own weights are.

        Feedback weights that change as the forward ones do are such. It matters to Muon, which steps the weights of
        hidden layers and leaves the other parameters to AdamW.
        """
        return ()

    def auxiliary_serves_others(self, layer: Layer) -> bool:
        """Whether the parameters of :meth:`parameters_for` serve more than their layer: prediction, or other layers.

        They are then trained even if all parameters of the layer itself are frozen (``requires_grad=False``).
        """
        return False

    def buffers_for(self, layer: Layer) -> Iterable[Tensor]:
        """Buffers of the rule that belong to this layer; the audit counts them as learned by the layer.

        By default those registered under a :func:`state_key` of the layer.
        """
        return (buffer for name, buffer in self.named_buffers() if is_state_of(name, layer))

    def trains(self, layer: Layer) -> bool:
        """Whether the layer's own parameters are trained. The engine checks that such a layer gets gradients."""
        return self.info.trains_readout if layer.is_readout else self.info.trains_layers

    def describe(self, layer: Layer) -> str:
        """The class that trains the layer, for error messages."""
        return type(self).__name__

    def plots(self, network: Network) -> dict[str, Figure]:
        """Plots of the rule's own, drawn at the end of a run and kept in the run folder.

        Args:
            network: As trained.

        Returns:
            Matplotlib figures by name; ``weights`` becomes ``weights.png``. By default none.
        """
        return {}

    @abstractmethod
    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One step: leave gradients in ``.grad``, and call ``context.step_layer(layer)`` for each layer with any."""

    def predict(self, network: Network, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes). Overridden by rules that classify in another way."""
        return network(images)


class LayerParallel(ABC):
    """Mixin of a :class:`Rule` whose step can train a part of the layers, so that processes may divide the layers.

    ``network.layers`` are then the layers of one process, and no layer after them runs. What stands before them has run
    in other processes. Rules that are a layer's objective can be divided without it.
    """

    @abstractmethod
    def sent_with(self, layer: Layer) -> list[Tensor]:
        """Tensors of this step that readers of a layer need beside its output; none if they need nothing else.

        Called when the layer has run. Shapes are the same in every step.
        """

    @abstractmethod
    def receive(self, layer: Layer, output: Any, beside: list[Tensor]) -> Any:
        """The value that readers are given in place of the output of a layer that has run in another process.

        Args:
            layer: The layer.
            output: What its readers were given there, detached.
            beside: What :meth:`sent_with` returned there, detached.
        """


def state_key(layer: Layer, output: int = 0) -> str:
    """A name for a module or buffer that a rule keeps for one output of a layer.

    Dots, which torch does not allow in such names, are replaced. State registered under this name counts as the
    layer's own, see :meth:`localrules.Rule.buffers_for`.
    """
    return f"{_escaped_name(layer)}#{output}"


def is_state_of(name: str, layer: Layer) -> bool:
    """Whether a part of a tensor's dotted name is a :func:`state_key` of the layer, with or without the output."""
    return any(part.partition("#")[0] == _escaped_name(layer) for part in name.split("."))


def _escaped_name(layer: Layer) -> str:
    return layer.name.replace(".", "/")
