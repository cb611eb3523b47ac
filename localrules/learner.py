"""Train a module of one's own, in a loop of one's own, by any rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from localrules.config.schema import OptimizerConfig
from localrules.core.layer import Layer
from localrules.core.network import Granularity, Network
from localrules.core.objective import Objective
from localrules.core.rule import Rule, StepReport
from localrules.core.view import Batch
from localrules.engine.layerwise import LayerwiseRule
from localrules.engine.optimizers import LayerOptimizers
from localrules.errors import UsageError


class Learner:
    """A module, its layers, a rule, and one optimizer for each layer.

    ::

        learner = Learner(model, "hsic", example=images[:2], num_classes=7, lr=3e-3)
        for images, labels in batches:
            report = learner.step(images, labels)
        logits = learner.predict(images)

    For a run folder, resume and trackers, put the module into a plugin instead (docs/tutorial.md, section 7).

    Args:
        model: Any module whose output is the logits, shape (batch, classes). It is trained in place.
        rule: A rule's name, an ``Objective`` or a ``Rule``.
        example: Some inputs, shape (batch, ...), to find out the layers' shapes.
        num_classes: How many labels there are.
        layers, readout, granularity: How the module is cut, see :meth:`localrules.Network.wrap`.
        optimizer: ``"adam"``, ``"adamw"``, ``"sgd"`` or ``"muon"``.
        lr: Learning rate (ours: 0.003).
        precision: Entered around forward passes, e.g. ``lambda: torch.autocast("cpu", torch.bfloat16)``.

    Attributes:
        network: The module with its layers marked.
        rule: What trains it.
        optimizers: One a layer; ``set_learning_rate`` is for schedules.

    Raises:
        UsageError: A module that cannot be cut, or that the rule cannot train.
    """

    def __init__(
        self,
        model: nn.Module,
        rule: str | Objective | Rule,
        *,
        example: Tensor,
        num_classes: int,
        layers: Sequence[str] | None = None,
        readout: str = "",
        granularity: Granularity = "layer",
        optimizer: str = "adam",
        lr: float = 3e-3,
        precision: Any = nullcontext,
    ) -> None:
        self.network = Network.wrap(model, layers, readout=readout, granularity=granularity, example=example)
        made = _from_name(rule) if isinstance(rule, str) else rule
        if misfit := made.requires.incompatibility(self.network):
            raise UsageError(f"the rule cannot train {type(model).__name__}", where=type(made).__name__, why=misfit)
        self.rule = made if isinstance(made, Rule) else LayerwiseRule(dict.fromkeys(self._hidden_names(), made))
        self.rule.prepare(self.network, num_classes)
        self.rule.to(example.device)
        settings = OptimizerConfig.model_validate({"name": optimizer, "lr": lr})
        self.optimizers = LayerOptimizers.from_config(self.network, self.rule, settings)
        self._num_classes = num_classes
        self._context = _SimpleContext(self.optimizers, precision)

    def _hidden_names(self) -> list[str]:
        return [layer.name for layer in self.network.hidden]

    def step(self, images: Tensor, labels: Tensor) -> StepReport:
        """Learn from one batch: every layer's gradients, and a step of its optimizer.

        Args:
            images: Shape (batch, ...).
            labels: int64, shape (batch,).
        """
        self.network.train()
        self.rule.train()
        return self.rule.step(self.network, Batch(images, labels, self._num_classes), self._context)

    @torch.no_grad()
    def predict(self, images: Tensor) -> Tensor:
        """Logits, shape (batch, classes), in eval mode, as the rule answers."""
        self.network.eval()
        self.rule.eval()
        return self.rule.predict(self.network, images)


class _SimpleContext:
    """What a rule asks of a training loop: every layer learns, and is stepped as soon as its gradients are complete."""

    def __init__(self, optimizers: LayerOptimizers, precision: Any) -> None:
        self._optimizers, self._precision = optimizers, precision

    def is_trainable(self, layer: Layer) -> bool:
        return True

    def is_objective_trainable(self, layer: Layer) -> bool:
        return True

    def step_layer(self, layer: Layer) -> None:
        self._optimizers.step(layer.name)

    def submit(self, layer: Layer, work: Callable[[], None]) -> None:
        work()

    def autocast(self) -> AbstractContextManager[Any]:
        context: AbstractContextManager[Any] = self._precision()
        return context


def _from_name(name: str) -> Objective | Rule:
    from localrules.registry.registry import Registry

    kind = Registry.load().resolve("rule", name)
    made: Objective | Rule = kind(kind.Config())
    return made
