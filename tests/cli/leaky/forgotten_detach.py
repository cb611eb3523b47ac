"""A step by hand in which layers keep their graphs: a layer's objective also trains the layers before it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from localrules import Batch, Context, Layer, Network, Rule, RuleInfo, StepReport
from localrules.core.interception import Forward, intercept_layers


class ForgottenDetach(Rule):
    """The outputs of each layer should have mean one; their inputs should have been detached."""

    info = RuleInfo(locality="local")

    def step(self, network: Network, batch: Batch, context: Context) -> StepReport:
        found: dict[str, Tensor] = {}

        def visit(layer: Layer, forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            output = forward(*args, **kwargs)
            found[layer.name] = (output.mean(0) - 1).square().mean()
            return output

        with intercept_layers(network.layers, visit):
            network(batch.images)
        sum(found.values(), batch.images.new_zeros(())).backward()
        for layer in network.layers:
            context.step_layer(layer)
        return StepReport({name: value.detach() for name, value in found.items()})


RULES = {"leaky": ForgottenDetach}
