"""Makes a rule of objectives: the local training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils import _pytree as pytree

from localrules.core.interception import (
    Forward,
    InplaceGuard,
    detach_tree,
    intercept_layers,
    layer_outputs,
    tensor_leaves,
)
from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.objective import Objective
from localrules.core.ops import Operation, record_ops
from localrules.core.rule import Context, Rule, StepReport, state_key
from localrules.core.view import Batch, LayerView
from localrules.errors import LocalRulesError, UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


PENDING = torch.tensor(float("nan"))


class LayerwiseRule(Rule):
    """Trains every hidden layer on its own objective, and the readout on cross-entropy, in one forward pass.

    Each layer's inputs come detached; its objective is computed as soon as its output is there; its backward pass runs
    and frees its graph; its readers get the output detached. So at any moment one layer's graph is alive, or with
    ``parallel_layers`` those of the layers that learn or wait for a thread.

    Args:
        objectives: Every hidden layer's objective by layer name; layers may share one.

    Raises:
        UsageError: The objectives do not go together in one pass.
    """

    def __init__(self, objectives: Mapping[str, Objective]) -> None:
        super().__init__()
        self._objective_of = dict(objectives)
        distinct = list({id(objective): objective for objective in objectives.values()}.values())
        self.objectives = nn.ModuleList(distinct)  # so that their state is moved and saved
        self.auxiliaries = nn.ModuleDict()
        self._only = distinct[0] if len(distinct) == 1 else None
        self.trains_readout = self._only is None or self._only.trains_readout
        self._hands_on = any(type(objective).hand_on is not Objective.hand_on for objective in distinct)
        self._votes = any(type(objective).vote is not Objective.vote for objective in distinct)
        self.metrics = tuple(dict.fromkeys(name for objective in distinct for name in objective.metrics))
        if self._only is None:
            _check_mixable(distinct)

    def prepare(self, network: Network, num_classes: int) -> None:
        """Build the auxiliary modules, one for each end of each layer whose objective asks for one."""
        self._num_classes = num_classes
        for objective in self.objectives:
            assert isinstance(objective, Objective)
            own = [layer for layer in network.hidden if self._objective_of[layer.name] is objective]
            objective.prepare(own, num_classes)
        for layer in network.hidden:
            for end in range(len(layer.out_shapes)):
                auxiliary = self._objective_of[layer.name].auxiliary(layer.select_output(end), num_classes)
                if auxiliary is not None:
                    self.auxiliaries[state_key(layer, end)] = auxiliary

    def parameters_for(self, layer: Layer) -> Iterable[nn.Parameter]:
        """The parameters of the layer's auxiliary modules."""
        for end in range(len(layer.out_shapes)):
            if state_key(layer, end) in self.auxiliaries:
                yield from self.auxiliaries[state_key(layer, end)].parameters()

    def figures(self, network: Network) -> dict[str, Figure]:
        """Those of its objectives."""
        found: dict[str, Figure] = {}
        for objective in self.objectives:
            assert isinstance(objective, Objective)
            found |= objective.figures(network)
        return found

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        """One forward pass in which every learning layer learns."""
        report = StepReport()
        handed = InplaceGuard()

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self._is_training(layer, context):
                return handed.detach_and_track(layer, self._handed_on(layer, forward(*args, **kwargs)))
            args, kwargs = detach_tree(args), detach_tree(kwargs)
            with torch.enable_grad():
                output, operations = self._run(layer, forward, args, kwargs)
            inputs = tensor_leaves((args, kwargs))
            report.objectives[layer.name] = PENDING  # so that they stand in forward order, whoever is done first

            def learn() -> None:
                with context.autocast(), torch.enable_grad():
                    objective = self._objective(layer, output, inputs, operations, batch, report)
                with torch.autocast(batch.images.device.type, enabled=False):
                    objective.backward()
                report.objectives[layer.name] = objective.detach()
                context.step_layer(layer)

            if self._hands_on:
                learn()  # what is handed on may depend on what was learned
            else:
                context.submit(layer, learn)
            return handed.detach_and_track(layer, self._handed_on(layer, detach_tree(output)))

        with torch.no_grad(), context.autocast(), intercept_layers(network.layers, visit):
            logits = network(batch.images if self._only is None else self._only.stream(batch))
        handed.check()
        if self.trains_readout:
            report.logits = logits
        return report

    def _is_training(self, layer: Layer, context: Context) -> bool:
        """Whether anything of the layer learns: itself, or what stands on it."""
        if layer.is_readout and not self.trains_readout:
            return False
        if context.is_trainable(layer):
            return True
        return context.is_objective_trainable(layer) and any(own.requires_grad for own in self.parameters_for(layer))

    def predict(self, network: Network, images: Tensor) -> Tensor:
        """The objective's own answer if it has one, else the readout's logits, or what it and the layers vote for."""
        if self._only is not None:
            found = self._only.predict(
                lambda pictures: self._collect_views(network, pictures), images, self._num_classes
            )
            if found is not None:
                return found
        if not (self._hands_on or self._votes):
            return network(images)
        votes: list[Tensor] = []

        def ask(view: LayerView) -> None:
            vote = self._objective_of[view.layer.name].vote(view)
            if vote is not None:
                votes.append(vote.float().log_softmax(1))

        answer = self._predict_with_views(network, images, ask)
        if not votes:
            return answer
        return (answer.float().log_softmax(1) + torch.stack(votes).mean(0)) / 2

    def _collect_views(self, network: Network, images: Tensor) -> list[LayerView]:
        """What every hidden layer sees of pictures without labels."""
        views: list[LayerView] = []
        self._predict_with_views(network, images, views.append)
        return views

    def _predict_with_views(self, network: Network, images: Tensor, see: Callable[[LayerView], None]) -> Tensor:
        """The network's output on pictures without labels; every hidden layer's views are shown on the way."""
        unlabelled = torch.empty(0, dtype=torch.int64, device=images.device)
        batch = Batch(images, unlabelled, self._num_classes)

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output, operations = self._run(layer, forward, args, kwargs)
            if not layer.is_readout:
                for view in self._views(layer, output, tensor_leaves((args, kwargs)), operations, batch):
                    see(view)
            return self._handed_on(layer, output)

        with intercept_layers(network.layers, visit):
            answer: Tensor = network(images)
        return answer

    def _run(
        self, layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, list[Operation]]:
        """The layer's output, and its operations if its objective wants to see them."""
        wanted = not layer.is_readout and self._objective_of[layer.name].requires.operations
        if not wanted:
            return forward(*args, **kwargs), []
        with record_ops() as operations:
            return forward(*args, **kwargs), operations

    def _handed_on(self, layer: Layer, output: Any) -> Any:
        if layer.is_readout or not self._hands_on:
            return output
        return pytree.tree_map_only(
            Tensor, lambda tensor: self._objective_of[layer.name].hand_on(layer, tensor), output
        )

    def _views(
        self, layer: Layer, output: Any, inputs: list[Tensor], operations: list[Operation], batch: Batch
    ) -> list[LayerView]:
        """A view for each of the layer's ends."""
        views = []
        for index, end in enumerate(layer_outputs(layer, output)):
            key = state_key(layer, index)
            auxiliary = self.auxiliaries[key] if key in self.auxiliaries else None  # noqa: SIM401 (it has no get)
            ran = operations if index == 0 else []  # what they call for is called for once
            views.append(LayerView(layer.select_output(index), tuple(inputs), end, batch, auxiliary, ran))
        return views

    def _objective(
        self,
        layer: Layer,
        output: Any,
        inputs: list[Tensor],
        operations: list[Operation],
        batch: Batch,
        report: StepReport,
    ) -> Tensor:
        if layer.is_readout:
            loss = functional.cross_entropy(output.float(), batch.labels)
            report.loss = loss.detach()
            return loss
        objective = self._objective_of[layer.name]
        total: Tensor | None = None
        for view in self._views(layer, output, inputs, operations, batch):
            found = objective.loss(view)
            loss = sum(found.values(), torch.zeros(())) if isinstance(found, dict) else found
            total = loss if total is None else total + loss
            report.metrics |= {f"{name}/{layer.name}": value for name, value in view.noted.items()}
        if total is None or not total.requires_grad:
            raise LocalRulesError(
                f"the objective of layer {layer.name!r} does not depend on the layer",
                where=f"{type(objective).__name__}.loss",
                why="it returned a scalar without gradient",
                fix="compute it from view.output, without detaching or no_grad",
            )
        return total


def _check_mixable(objectives: list[Objective]) -> None:
    for objective in objectives:
        if not objective.trains_readout or type(objective).stream is not Objective.stream:
            raise UsageError(
                f"{type(objective).__name__} cannot share a network with other rules",
                where="--rule",
                why="it feeds the network something else than the batch, or classifies in its own way alone",
                fix="use it for all layers, or leave it out of the mixture",
            )
