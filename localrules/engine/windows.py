"""Overlapping windows of layers: objectives whose gradients also train the layers just below."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from localrules.core.base import RuleBase
from localrules.core.interception import (
    Forward,
    InplaceGuard,
    detach_tree,
    intercept_layers,
    tensor_leaves,
)
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.objective import Objective
from localrules.core.rule import Context, LayerParallel, StepReport
from localrules.core.view import Batch
from localrules.core.windows import layers_in_windows
from localrules.engine.layerwise import LayerwiseRule, ObjectiveSpec
from localrules.errors import LocalRulesError, UsageError

Gradients = list[tuple[Tensor, Tensor]]
"""Tensors, and the gradient at each."""

NOTHING: Mapping[Any, Tensor] = MappingProxyType({})


class Arrival(NamedTuple):
    """The path of a gradient that has crossed borders between layers.

    Attributes:
        objective: The layer whose objective it belongs to.
        borders: Borders that it has crossed, 1 or more.
        layer: The layer at whose output it has arrived.
        output: The output's position among those that this layer gave.
    """

    objective: str
    borders: int
    layer: str
    output: int


class Crossing(NamedTuple):
    """A gradient that has arrived.

    Attributes:
        gradient: The sum of what several layers sent.
        sender: The position in forward order of the last layer that sent some of it.
    """

    gradient: Tensor
    sender: int


class Borders(Protocol):
    """The borders of a part of the layers, beyond which other processes train the others."""

    def is_ready(self, objective: str) -> bool:
        """Whether all that goes down from this part is known once this layer's objective is."""

    def send(self, gradients: Mapping[Arrival, Tensor]) -> None:
        """Let the layers below have the gradients that have arrived at their outputs."""

    def receive(self) -> dict[Arrival, Tensor]:
        """The gradients that layers above have sent down in this step, by objective in forward order."""


@dataclass(eq=False)
class _OpenLayer:
    """A layer whose graph is kept, because a layer above may still send it a gradient.

    Attributes:
        layer: Which.
        own: Its outputs, and the gradients of its own objective there.
        given: What its readers receive, with the layer's graph: the outputs themselves, or transformed ones.
        values: The leaves that readers received in their place.
        received: The sum of the gradients that came to each of ``given``.
        is_elsewhere: Whether another process trains it: only ``values`` are here.
    """

    layer: Layer
    own: Gradients
    given: list[Tensor]
    values: list[Tensor]
    received: dict[int, Tensor] = field(default_factory=dict)
    is_elsewhere: bool = False

    def messages(self, gradients: Mapping[int, Tensor]) -> Gradients:
        """Gradients at what readers received, by position, as gradients at ``given``."""
        return [(self.given[at], gradient) for at, gradient in gradients.items()]


class WindowedRule(LayerwiseRule, LayerParallel):
    """Trains every hidden layer on its own objective and on those of the layers up to ``window - 1`` above it.

    The gradient of a layer's parameters is ``dL_j / dtheta_j + weight * sum_c dL_c / dtheta_j``, over the layers ``c``
    whose objective is reached across ``window - 1`` borders or fewer, a border lying between a layer and its reader.
    No gradient crosses more borders: one that came across the last is used and not sent on. So the windows
    of layers slide by one layer, and each objective trains the window that ends with its layer.

    A layer's graph is kept until its last window is done, and then its optimizer steps: the graphs of ``window`` layers
    are alive at a time in a sequential network. Each layer's weight gradient is computed once, the gradient at its
    input ``window - 1`` times. Layers that are not trained in a phase send nothing down.

    Args:
        specs: As for :class:`~localrules.engine.layerwise.LayerwiseRule`.
        window: Layers in a window, from 2.
        weight: Of the gradients from objectives of layers above.

    Attributes:
        borders: Those of a process that trains a part of the layers; it is called with no more than these.
        arrivals: Filled with the gradients of a step if it is not ``None``.

    Raises:
        UsageError: An objective that cannot be trained in windows.

    References:
        HPFF: Su et al. 2024, https://arxiv.org/abs/2407.05638, where the objective of a window has a head of its own,
        and weight 0.999 beside 0.001 for a layer's own; overlapping local updates: Laskin et al. 2020,
        https://arxiv.org/abs/2012.03837.
    """

    def __init__(self, specs: Mapping[str, ObjectiveSpec], window: int, weight: float = 1.0) -> None:
        super().__init__(specs)
        self._window, self._weight = window, weight
        self.borders: Borders | None = None
        self.arrivals: dict[Arrival, Crossing] | None = None
        for cls in self.objective_classes:
            check_windows(cls.__name__, cls)

    def prepare(self, network: Network, num_classes: int) -> None:
        """Make the objectives, and find out when each layer has received all gradients."""
        super().prepare(network, num_classes)
        order = [layer.name for layer in network.hidden]
        self._position = {name: position for position, name in enumerate(order)}
        self._complete: dict[str, list[str]] = {name: [] for name in order}
        for name, reached in layers_in_windows(network.layers, self._window).items():
            self._complete[max({name, *reached}, key=order.index)].append(name)

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass in which every layer is trained as soon as its last window is done."""
        report = StepReport()
        guard = InplaceGuard()
        inputs, divided = self._make_inputs(batch)
        self._open: dict[str, _OpenLayer] = {}
        self._going_down: dict[Arrival, Tensor] = {}
        self._is_trainable: Callable[[Layer], bool] = context.is_trainable

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = run(layer, forward, args, kwargs)
            if self.borders is not None and self.borders.is_ready(layer.name):
                self.borders.send(self._going_down)
            for name in self._complete.get(layer.name, ()):
                self._train(name, context)
            return output

        def run(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            in_window = context.is_trainable(layer) and not layer.is_readout
            if not in_window:
                args, kwargs = detach_tree(args), detach_tree(kwargs)
            if not self._is_training(layer, context):
                with torch.no_grad():
                    return guard.detach_and_track(layer, self.output_for_readers(layer, forward(*args, **kwargs)))
            guard.check()
            output, operations = self._run(layer, forward, args, kwargs)
            # The objective sees leaves in place of the outputs, so that its gradient at these is known.
            seen = pytree.tree_map_only(Tensor, _as_leaf, output)
            read = [tensor.detach() for tensor in tensor_leaves((args, kwargs))]
            with self._checking_first_loss(layer):
                loss = self._loss(layer, seen, read, operations, divided, context.autocast, report)
            with torch.autocast(inputs.device.type, enabled=False):
                self._backward(layer, loss, context, is_own=False)
            report.objectives[layer.name] = loss.detach()
            own = _gradients(tensor_leaves(output), tensor_leaves(seen))
            if not in_window:
                if layer.is_readout:
                    _backward(own, layer)
                context.step_layer(layer)
                return guard.detach_and_track(layer, self.output_for_readers(layer, detach_tree(output)))
            given = self.output_for_readers(layer, output)
            values = pytree.tree_map_only(Tensor, _as_leaf, given)
            opened = _OpenLayer(layer, own, tensor_leaves(given), tensor_leaves(values))
            self._check_given(opened)
            with torch.autocast(inputs.device.type, enabled=False):
                self._send_down(layer.name, [(opened, own)])
            self._open[layer.name] = opened
            for tensor in opened.values:
                guard.track(layer, tensor)
            return values

        try:
            with torch.enable_grad(), context.autocast(), intercept_layers(network.layers, visit):
                logits = network(inputs)
            guard.check()
            if self.borders is not None:
                self._learn_from_above(self.borders, context)
            for name in [name for name, opened in self._open.items() if not opened.is_elsewhere]:
                self._train(name, context)  # the last layer that it reaches was left out of this step
        finally:
            self._open, self._going_down, self._is_trainable = {}, {}, bool
        if self.trains_readout:
            logits, trained_on = divided.of_readout(logits.detach())
            report.logits, report.labels = logits, trained_on.labels
        return report

    def sent_with(self, layer: Layer) -> list[Tensor]:
        """Nothing: gradients go the other way."""
        return []

    def receive(self, layer: Layer, output: Any, beside: list[Tensor]) -> Any:
        """Leaves in place of the outputs of a layer that is trained elsewhere, so that gradients there are known."""
        if not self._is_trainable(layer) or layer.is_readout:
            return output
        values = pytree.tree_map_only(Tensor, _as_leaf, output)
        self._open[layer.name] = _OpenLayer(layer, [], [], tensor_leaves(values), is_elsewhere=True)
        return values

    def _learn_from_above(self, borders: Borders, context: Context) -> None:
        """Train the layers that objectives of other processes reach, and let those below have what concerns them."""
        by_objective: dict[str, dict[Arrival, Tensor]] = {}
        for way, gradient in borders.receive().items():
            by_objective.setdefault(way.objective, {})[way] = gradient
        for objective, gradients in by_objective.items():
            self._send_down(objective, [], gradients)
        if borders.is_ready(""):
            borders.send(self._going_down)
        for name in [name for name, opened in self._open.items() if not opened.is_elsewhere]:
            self._train(name, context)

    def _send_down(
        self,
        objective: str,
        sending: list[tuple[_OpenLayer, Gradients]],
        from_above: Mapping[Arrival, Tensor] = NOTHING,
    ) -> None:
        """Give the layers below the gradient of one layer's objective, border by border.

        Args:
            objective: The layer's name.
            sending: The layer, and the gradients at its outputs, if it is here.
            from_above: Gradients that other processes have computed.
        """
        for borders in range(1, self._window):
            arrived: dict[str, dict[int, Tensor]] = {}
            senders: dict[str, int] = {}
            for way, gradient in from_above.items():
                if way.borders == borders:
                    arrived.setdefault(way.layer, {})[way.output] = gradient
            for sender, gradients in sending:
                for source, found in _below(sender.layer, gradients, self._open):
                    _add(arrived.setdefault(source, {}), found)
                    senders.setdefault(source, self._position[sender.layer.name])
            sending = []
            # The last layer first: what comes from above is then added first, whichever process has computed it.
            for name in sorted(arrived, key=self._position.__getitem__, reverse=True):
                found, receiver = arrived[name], self._open[name]
                ways = {Arrival(objective, borders, name, at): gradient for at, gradient in found.items()}
                if self.arrivals is not None:
                    self.arrivals |= {way: Crossing(gradient, senders[name]) for way, gradient in ways.items()}
                if receiver.is_elsewhere:
                    self._going_down |= ways
                else:
                    _add(receiver.received, found)
                    sending.append((receiver, receiver.messages(found)))

    def _train(self, name: str, context: Context) -> None:
        """Step a layer that has received all gradients; its graph is freed."""
        opened = self._open.get(name)
        if opened is None or opened.is_elsewhere:
            return
        del self._open[name]
        received = opened.messages({at: self._weight * each for at, each in opened.received.items()})
        with torch.autocast(opened.values[0].device.type, enabled=False):
            _backward([*opened.own, *(received if self._weight else [])], opened.layer)
        context.step_layer(opened.layer)

    def _check_given(self, opened: _OpenLayer) -> None:
        if not any(tensor.requires_grad for tensor in opened.given):
            raise LocalRulesError(
                f"no gradient crosses the border above layer {opened.layer.name!r}",
                where=f"{self.describe(opened.layer)}.transform_output",
                why="readers receive a transformed output without a graph, and windows send gradients through it",
                fix="compute the transformed output without detaching, or leave out window from --granularity",
            )


def check_windows(name: str, cls: type[RuleBase], fits: str = "") -> None:
    """Raises UsageError where a rule cannot be trained in windows of layers.

    Args:
        name: Of the rule, for the message.
        cls: Its class.
        fits: Rules that can, for the message.
    """
    if why := window_incompatibility(cls):
        raise UsageError(
            f"rule {name!r} cannot train windows of layers",
            where="--granularity window:K",
            why=why,
            fix=f"choose a rule that can: {fits}" if fits else "choose a rule that can, such as local-ce or hsic",
        )


def window_incompatibility(cls: type[RuleBase]) -> str:
    """The reason why a rule cannot be trained in windows of layers; empty if it can."""
    if not issubclass(cls, Objective):
        return "it takes the step of the whole network into its own hands; windows are made of layers' objectives"
    if not cls.info.trains_layers:
        return "it leaves the parameters of the layers as they are, so that no gradient reaches them"
    if cls.info.requires.operations:
        return "it computes updates from the operations inside a layer, and has no gradient at the layer's output"
    return ""


def _below(
    layer: Layer, gradients: Gradients, open_layers: Mapping[str, _OpenLayer]
) -> Iterator[tuple[str, dict[int, Tensor]]]:
    """The gradients at what a layer read: by source, and by position among what that one gave."""
    sources = [open_layers[name] for name in layer.input_layers if name in open_layers]
    values = [value for source in sources for value in source.values if value.requires_grad]
    roots = [(tensor, gradient) for tensor, gradient in gradients if tensor.requires_grad]
    if not values or not roots:
        return
    found = iter(
        torch.autograd.grad(
            [tensor for tensor, _ in roots],
            values,
            [gradient for _, gradient in roots],
            retain_graph=True,
            allow_unused=True,
        )
    )
    for source in sources:
        own = {at: next(found) for at, value in enumerate(source.values) if value.requires_grad}
        yield source.layer.name, {at: gradient for at, gradient in own.items() if gradient is not None}


def _add(sums: dict[int, Tensor], more: Mapping[int, Tensor]) -> None:
    for at, gradient in more.items():
        sums[at] = sums[at] + gradient if at in sums else gradient


def _as_leaf(tensor: Tensor) -> Tensor:
    leaf = tensor.detach()
    return leaf.requires_grad_() if leaf.is_floating_point() else leaf


def _gradients(outputs: list[Tensor], leaves: list[Tensor]) -> Gradients:
    """The gradients that a backward pass left at leaves, as gradients at the outputs that they stand for."""
    return [(output, leaf.grad) for output, leaf in zip(outputs, leaves, strict=True) if leaf.grad is not None]


def _backward(gradients: Gradients, layer: Layer) -> None:
    """Add to the gradients of a layer's parameters."""
    parameters = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    roots = [(tensor, gradient) for tensor, gradient in gradients if tensor.requires_grad]
    if parameters and roots:
        torch.autograd.backward([t for t, _ in roots], [g for _, g in roots], inputs=parameters)


def layerwise_rule(specs: Mapping[str, ObjectiveSpec], network: Network, weight: float = 1.0) -> LayerwiseRule:
    """The rule of a network's objectives, in windows of layers where the granularity says so.

    Args:
        specs: The objective of every hidden layer, by layer name.
        network: Cut into layers.
        weight: As of :class:`WindowedRule`.
    """
    return LayerwiseRule(specs) if network.window == 1 else WindowedRule(specs, network.window, weight)
