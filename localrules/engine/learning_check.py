"""A check that every layer that should learn is given gradients and stepped."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.errors import UsageError


class LearningCheck:
    """Looks at each layer once, in the first step in which it should learn; afterwards it costs nothing.

    A layer that is left out in silence keeps its initial weights, and the run ends as if it had learned. The
    exceptions are layers without trainable parameters, the readout of a rule that does not train it, and rules that
    declare ``RuleInfo(trains_layers=False)``.

    Args:
        network: The network.
        rule: The rule that trains it.
    """

    def __init__(self, network: Network, rule: Rule) -> None:
        self._pending: dict[str, Layer] = {}
        self._rule = rule
        for layer in network.layers:
            if rule.trains(layer) and _trainable(layer):
                self._pending[layer.name] = layer

    def before_step(self, layer: Layer) -> None:
        """Called when a rule says that a trained layer's gradients are complete.

        Raises:
            UsageError: None of the layer's parameters has a gradient.
        """
        if self._pending.pop(layer.name, None) is None:
            return
        if all(parameter.grad is None for _, parameter in _trainable(layer)):
            raise UsageError(
                f"layer {layer.name!r} would not learn",
                where=f"layer {layer.name!r}, {type(layer.module).__name__}",
                why=f"{self._rule.describe(layer)} left no gradient in any of its parameters "
                f"({', '.join(name for name, _ in _trainable(layer))})",
                fix="freeze the whole layer with requires_grad_(False), if what the rule trains in it is frozen; in a "
                "rule of your own, compute the objective from view.output without detaching it, and call step_layer "
                "after backward",
            )

    def after_step(self, is_trainable: Callable[[Layer], bool]) -> None:
        """Called after a step.

        Raises:
            UsageError: A layer that is trained in this phase was not stepped.
        """
        if not self._pending:
            return
        for layer in self._pending.values():
            if is_trainable(layer):
                raise UsageError(
                    f"layer {layer.name!r} was not stepped",
                    where=f"layer {layer.name!r}, {type(layer.module).__name__}",
                    why=f"{self._rule.describe(layer)} finished a step without calling context.step_layer for it",
                    fix="call it for every layer that has gradients, or declare RuleInfo(trains_layers=False)",
                )


def _trainable(layer: Layer) -> list[tuple[str, nn.Parameter]]:
    return [(name, one) for name, one in layer.module.named_parameters() if one.requires_grad]
