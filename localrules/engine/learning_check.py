"""A check that every layer that should learn is given gradients and stepped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from localrules.core.layer import Layer
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.errors import UsageError

STEPS_TO_RUN = 100
"""Steps in which a layer must have run once, in a network that skips layers at random, as of stochastic depth."""


class LearningCheck:
    """Looks at each layer once, in the first step in which it should learn; afterwards it costs nothing.

    A layer that is left out in silence keeps its initial weights, and the run ends as if it had learned. The
    exceptions are layers without trainable parameters, the readout of a rule that does not train it, and rules that
    declare ``RuleInfo(trains_layers=False)``. A layer that the network's forward skips is looked at in the first step
    in which it runs.

    Args:
        network: The network.
        rule: The rule that trains it.
    """

    def __init__(self, network: Network, rule: Rule) -> None:
        self._pending: dict[str, Layer] = {}
        self._rule = rule
        self._ran = _RunRecord()
        self._hooks: list[RemovableHandle] = []
        self._skipped: Counter[str] = Counter()
        for layer in network.layers:
            if rule.trains(layer) and _trainable(layer):
                self._pending[layer.name] = layer
        for layer in network.layers if self._pending else ():
            self._hooks.append(layer.module.register_forward_pre_hook(_NoteRun(self._ran, layer.name)))

    def before_step(self, layer: Layer) -> None:
        """Called when a rule says that a trained layer's gradients are complete.

        Raises:
            UsageError: None of the layer's parameters has a gradient.
        """
        if layer.name not in self._pending:
            return
        if all(parameter.grad is None for _, parameter in _trainable(layer)):
            if self._is_skipped(layer):
                return
            raise UsageError(
                f"layer {layer.name!r} would not learn",
                where=f"layer {layer.name!r}, {type(layer.module).__name__}",
                why=f"{self._rule.describe(layer)} left no gradient in any of its parameters "
                f"({', '.join(name for name, _ in _trainable(layer))})",
                fix="freeze the whole layer with requires_grad_(False), if what the rule trains in it is frozen; in a "
                "rule of your own, compute the objective from view.output without detaching it, and call step_layer "
                "after backward",
            )
        del self._pending[layer.name]
        if not self._pending:
            for hook in self._hooks:
                hook.remove()

    def after_step(self, is_trainable: Callable[[Layer], bool]) -> None:
        """Called after a step.

        Raises:
            UsageError: A layer that is trained in this phase was not stepped, or did not run in many steps.
        """
        for layer in filter(is_trainable, self._pending.values()):
            if not self._is_skipped(layer):
                raise UsageError(
                    f"layer {layer.name!r} was not stepped",
                    where=f"layer {layer.name!r}, {type(layer.module).__name__}",
                    why=f"{self._rule.describe(layer)} finished a step without calling context.step_layer for it",
                    fix="call it for every layer that has gradients, or declare RuleInfo(trains_layers=False)",
                )
            self._skipped[layer.name] += 1
            if self._skipped[layer.name] >= STEPS_TO_RUN:
                raise UsageError(
                    f"layer {layer.name!r} did not run in {STEPS_TO_RUN} steps",
                    where=f"layer {layer.name!r}, {type(layer.module).__name__}",
                    why="the network's forward skipped it in each of them, and what does not run cannot learn",
                    fix="freeze it with requires_grad_(False), or let forward run it in training mode",
                )
        self._ran.names.clear()

    def _is_skipped(self, layer: Layer) -> bool:
        """Whether the layer did not run in this step, where others did: a rule may compute all of them by itself."""
        return layer.name not in self._ran.names and bool(self._ran.names)


class _RunRecord:
    """The names of the layers that ran in a step."""

    def __init__(self) -> None:
        self.names: set[str] = set()


class _NoteRun:
    """A hook that notes that a layer runs."""

    def __init__(self, record: _RunRecord, name: str) -> None:
        self._record, self._name = record, name

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self._record.names.add(self._name)


def _trainable(layer: Layer) -> list[tuple[str, nn.Parameter]]:
    return [(name, one) for name, one in layer.module.named_parameters() if one.requires_grad]
