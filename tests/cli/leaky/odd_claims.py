"""Rules that do not learn, or not under all circumstances of the audit."""

from __future__ import annotations

import random
import time

import torch
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, RuleConfig, RuleInfo


class Zero(Objective):
    """A rule with gradients of zero."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        return 0 * view.output.sum()


class FailsAt24(Objective):
    """A rule that fails on batches of 24."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        if len(view.output) == 24:
            raise RuntimeError("not with 24")
        return (view.output.mean(0) - 1).square().mean()


class Draws(Objective):
    """A rule whose random numbers the run does not seed."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        return (view.output.mean(0) - 1).square().mean() * (1 + random.random())


class Clock(Objective):
    """A rule to which the time matters."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        return (view.output.mean(0) - 1).square().mean() * time.monotonic()


class WritesDirectly(Objective):
    """A rule that moves weights without their optimizer."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        for weight in self.layer.parameters():
            weight.data.mul_(0.99)
        return (view.output.mean(0) - 1).square().mean()


class Temperature(Objective):
    """A local rule with a small parameter that has to be positive: the power of a negative number is none."""

    info = RuleInfo(locality="local")

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.temperature = nn.Parameter(torch.tensor(0.07))

    def forward(self, view: LayerView) -> Tensor:
        return (view.output.mean(0) - 1).square().mean() * self.temperature**0.5


class Lazy(Objective):
    """A rule whose head learns its size from the first batch."""

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.head = nn.LazyLinear(num_classes)

    def forward(self, view: LayerView) -> Tensor:
        return nn.functional.cross_entropy(self.head(view.output.flatten(1)), view.labels)


RULES = {
    "zero": Zero,
    "fails-at-24": FailsAt24,
    "draws": Draws,
    "clock": Clock,
    "writes-directly": WritesDirectly,
    "temperature": Temperature,
    "lazy": Lazy,
}
