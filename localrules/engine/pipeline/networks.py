"""A network as a stage trains it: its own layers run, the outputs of earlier ones have arrived."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from localrules.core.interception import Forward, patch_forwards, tensor_leaves
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.rule import LayerParallel, Rule
from localrules.engine.pipeline.absent import absent, is_absent
from localrules.engine.pipeline.messages import layout_of
from localrules.engine.pipeline.stages import Stage
from localrules.engine.windows import Arrival, Crossing, WindowedRule
from localrules.errors import LocalRulesError


class Given(NamedTuple):
    """The values that readers of a layer are given in a step.

    Attributes:
        output: The layer's output, as a tree.
        beside: What the rule sends with it.
    """

    output: Any
    beside: list[Tensor]

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors, in order."""
        return [*tensor_leaves(self.output), *self.beside]

    def with_tensors(self, tensors: Sequence[Tensor]) -> Given:
        """The same with other tensors, as :attr:`tensors` gives them."""
        left = iter(tensors)
        output = pytree.tree_map_only(Tensor, lambda _: next(left), self.output)
        return Given(output, list(left))


class PartialNetwork(Network):
    """A network some of whose layers are trained: a rule sees these alone, and its forward pass is intercepted.

    It shares all modules with the whole network.

    Args:
        network: The whole network.
        rule: The rule that trains it.
        layers: Those that are trained, in forward order.
    """

    _rule: Rule

    def __init__(self, network: Network, rule: Rule, layers: Sequence[Layer]) -> None:
        nn.Module.__init__(self)
        self.model = network.model
        self.layers = tuple(layers)
        self.window = network.window
        object.__setattr__(self, "body", network.body)
        object.__setattr__(self, "_rule", rule)  # which is not a part of it
        self._all = network.layers

    def forward(self, images: Tensor) -> Any:
        """Logits, shape (batch, classes)."""
        # Outermost, since a rule has put its own visitor in place before it calls the network.
        with patch_forwards(self._all, self._visit):
            return self.body(images)

    def _visit(self, layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError


class MeasuredNetwork(PartialNetwork):
    """The whole network, which notes what a cut needs to know.

    Args:
        network: The network.
        rule: The rule that trains it.

    Attributes:
        seconds: For each step, the seconds of each layer, with its objective and what runs between it and the layer
            before.
        given: Layouts of what the readers of each layer were given in the last step, without values.
        arrivals: The gradients that crossed borders between layers in the last step, without values.
        draws_behind: Layers behind which the network drew random numbers before the next layer.
    """

    def __init__(self, network: Network, rule: Rule) -> None:
        super().__init__(network, rule, network.layers)
        self.seconds: list[dict[str, float]] = []
        self.given: dict[str, Given] = {}
        self.draws_behind: set[str] = set()

    @property
    def arrivals(self) -> dict[Arrival, Crossing]:
        found = self._rule.arrivals if isinstance(self._rule, WindowedRule) else None
        return {way: Crossing(layout_of(gradient), sender) for way, (gradient, sender) in (found or {}).items()}

    def forward(self, images: Tensor) -> Any:
        if isinstance(self._rule, WindowedRule):
            self._rule.arrivals = {}
        self.seconds.append({})
        self._behind: tuple[str, Tensor] | None = None
        self._since = time.perf_counter()
        return super().forward(images)

    def _visit(self, layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._behind is not None and not torch.equal(self._behind[1], torch.get_rng_state()):
            self.draws_behind.add(self._behind[0])
        output = forward(*args, **kwargs)
        self.given[layer.name] = layout_of(Given(output, sent_with(self._rule, layer)))
        self._behind = (layer.name, torch.get_rng_state())
        now = time.perf_counter()
        self.seconds[-1][layer.name], self._since = now - self._since, now
        return output


class StageNetwork(PartialNetwork):
    """A network of which one stage is trained.

    Layers before the stage return what has arrived for them, or no values where nothing here needs them; the pass ends
    behind the last layer of the stage. Torch's generator is put where it was behind a layer of another stage, if what
    is drawn next depends on it.

    Args:
        network: The whole network.
        rule: The rule that trains it.
        stage: The stage.
        layouts: Of what the readers of each layer are given.

    Attributes:
        given: What readers of layers are given in this step, by layer: arrived from earlier stages, or of this one.
        generators: States of torch's generator behind layers in this step.
        on_end: Called behind the last layer of a stage that others follow.
    """

    def __init__(self, network: Network, rule: Rule, stage: Stage, layouts: Mapping[str, Given]) -> None:
        super().__init__(network, rule, network.layers[stage.first : stage.last + 1])
        self._stage = stage
        self._before = {layer.name for layer in network.layers[: stage.first]}
        self._ends_early = stage.last < len(network.layers) - 1
        self._absent = {name: absent(layouts[name].output) for name in self._before - set(stage.receives)}
        self.given: dict[str, Given] = {}
        self.generators: dict[str, Tensor] = {}
        self.on_end: Callable[[], None] = lambda: None

    def forward(self, images: Tensor) -> Any:
        """Logits, shape (batch, classes); a tensor without elements if the readout is in a later stage."""
        try:
            return super().forward(images)
        except _EndOfStageError:
            self.on_end()
            return images.new_empty(0)

    def _visit(self, layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if layer.name in self._before:
            return self._arrived(layer)
        if any(map(is_absent, tensor_leaves((args, kwargs)))):
            raise LocalRulesError(
                f"layer {layer.name!r} reads what its stage does not receive",
                where=f"layer {layer.name!r}, which is known to read {', '.join(layer.input_layers) or 'the input'}",
                why="it reads another layer without a gradient between them, or not in every step",
                fix="leave out --parallel layers",
            )
        output = forward(*args, **kwargs)
        if layer.name in self._stage.sends:
            self.given[layer.name] = Given(output, sent_with(self._rule, layer))
        self.generators[layer.name] = torch.get_rng_state()
        if self._ends_early and layer is self.layers[-1]:
            raise _EndOfStageError
        return output

    def _arrived(self, layer: Layer) -> Any:
        if layer.name in self._absent:
            output = self._absent[layer.name]
        else:
            output, beside = self.given[layer.name]
            if isinstance(self._rule, LayerParallel):
                output = self._rule.receive(layer, output, beside)
        if layer.name in self.generators:
            torch.set_rng_state(self.generators[layer.name].clone())  # torch reads a view from its storage's start
        return output


class _EndOfStageError(BaseException):
    """Leaves the forward pass of a network behind the last layer of a stage; no code of a model catches it."""


def sent_with(rule: Rule, layer: Layer) -> list[Tensor]:
    """The tensors that a rule sends with the output of a layer."""
    return rule.sent_with(layer) if isinstance(rule, LayerParallel) else []
