"""Without gradients: the sums of a layer's closed-form predictor include the next layer's features."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from localrules import Batch, Context, Layer, Network, Rule, RuleInfo, StepReport, state_key
from localrules.core.interception import Forward, intercept_layers

FEATURES = 4


class ClosedForm(Rule):
    """Sums of features times labels; those of layer l are of layer l + 1."""

    info = RuleInfo(locality="local-labels", trains_layers=False, trains_readout=False)

    def key(self, layer: Layer) -> str:
        return state_key(layer)

    def prepare(self, network: Network, num_classes: int) -> None:
        for layer in network.hidden:
            self.register_buffer(self.key(layer), torch.zeros(FEATURES, num_classes))

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        features: list[Tensor] = []

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = forward(*args, **kwargs)
            features.append(output.flatten(1)[:, :FEATURES])
            return output

        with torch.no_grad(), intercept_layers(network.hidden, visit):
            network(batch.images)
        targets = functional.one_hot(batch.labels, batch.num_classes).float()
        for layer in network.hidden:
            after = min(layer.index + 1, len(features) - 1)
            self.get_buffer(self.key(layer)).add_(features[after].T @ targets)
        return StepReport()


class Unnamed(ClosedForm):
    """The same sums under names without a layer."""

    def key(self, layer: Layer) -> str:
        return f"sums_{layer.index}"


class Unseen(ClosedForm):
    """The same sums outside of the rule's buffers: no layer is seen to learn."""

    def prepare(self, network: Network, num_classes: int) -> None:
        self.sums = {layer.name: torch.zeros(FEATURES, num_classes) for layer in network.hidden}

    def get_buffer(self, target: str) -> Tensor:
        return self.sums[target.partition("#")[0].replace("/", ".")]


RULES = {"leaky": ClosedForm, "unnamed": Unnamed, "unseen": Unseen}
