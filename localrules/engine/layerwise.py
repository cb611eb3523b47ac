"""Makes a rule of an objective: the local training step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.objective import Objective
from localrules.core.passes import Forward, HandedOn, detached, ends, intercepted, tensors
from localrules.core.rule import Context, Rule, StepReport
from localrules.core.view import BatchStatistics, LayerView
from localrules.errors import LocalRulesError


class Layerwise(Rule):
    """Trains every hidden layer on its own objective, and the readout on cross-entropy, in one forward pass.

    Each layer's inputs come detached; its objective is computed as soon as its output is there; its backward pass runs
    and frees its graph; its readers get the output detached. So at any moment one layer's graph is alive.

    Args:
        objectives: Every hidden layer's objective by layer name; layers may share one.
    """

    def __init__(self, objectives: Mapping[str, Objective]) -> None:
        super().__init__()
        self._objective_of = dict(objectives)
        distinct = {id(objective): objective for objective in objectives.values()}
        self.objectives = nn.ModuleList(distinct.values())  # so that their state is moved and saved
        self.auxiliaries = nn.ModuleDict()

    def prepare(self, network: Network, num_classes: int) -> None:
        """Build the auxiliary modules, one for each end of each layer whose objective asks for one."""
        for layer in network.hidden:
            for end in range(len(layer.out_shapes)):
                auxiliary = self._objective_of[layer.name].auxiliary(layer.at(end), num_classes)
                if auxiliary is not None:
                    self.auxiliaries[_key(layer, end)] = auxiliary

    def parameters_of(self, layer: Layer) -> Iterable[nn.Parameter]:
        """The parameters of the layer's auxiliary modules."""
        for end in range(len(layer.out_shapes)):
            if _key(layer, end) in self.auxiliaries:
                yield from self.auxiliaries[_key(layer, end)].parameters()

    def step(self, network: Network, batch: BatchStatistics, context: Context) -> StepReport:
        """One forward pass in which every learning layer learns."""
        report = StepReport()
        handed = HandedOn()

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not context.learns(layer):
                return handed.hand_on(layer, forward(*args, **kwargs))
            args, kwargs = detached(args), detached(kwargs)
            with torch.enable_grad():
                output = forward(*args, **kwargs)
                objective = self._objective(layer, output, tensors((args, kwargs)), batch, report)
            with torch.autocast(batch.images.device.type, enabled=False):
                objective.backward()
            report.objectives[layer.name] = objective.detach()
            context.ready(layer)
            return handed.hand_on(layer, output)

        with torch.no_grad(), context.forward_context(), intercepted(network.layers, visit):
            report.logits = network(batch.images)
        handed.check()
        return report

    def _objective(
        self, layer: Layer, output: Any, inputs: list[Tensor], batch: BatchStatistics, report: StepReport
    ) -> Tensor:
        if layer.is_readout:
            loss = functional.cross_entropy(output.float(), batch.labels)
            report.loss = loss.detach()
            return loss
        objective = self._objective_of[layer.name]
        total: Tensor | None = None
        for index, end in enumerate(ends(layer, output)):
            key = _key(layer, index)
            auxiliary = self.auxiliaries[key] if key in self.auxiliaries else None  # noqa: SIM401 (it has no get)
            view = LayerView(layer.at(index), tuple(inputs), end, batch, auxiliary)
            found = objective.loss(view)
            loss = sum(found.values(), torch.zeros(())) if isinstance(found, dict) else found
            total = loss if total is None else total + loss
        if total is None or not total.requires_grad:
            raise LocalRulesError(
                f"the objective of layer {layer.name!r} does not depend on the layer",
                where=f"{type(objective).__name__}.loss",
                why="it returned a scalar without gradient",
                fix="compute it from view.output, without detaching or no_grad",
            )
        return total


def _key(layer: Layer, end: int) -> str:
    # Module names may not hold dots.
    return f"{layer.name.replace('.', '/')}#{end}"
