"""A hook on the third layer's module passes the mean of its output to the first layer's objective."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from localrules import Layer, LayerView, Objective, RuleConfig, RuleInfo

FIRST: list[ForwardHook] = []


def set_scale(module: Any, inputs: Any, output: Tensor) -> None:
    FIRST[0].scale = float(output.detach().mean())


class ForwardHook(Objective):
    """Outputs should have mean one."""

    info = RuleInfo(locality="local")

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.scale = 1.0
        if layer.index == 0:
            FIRST[:] = [self]
        if layer.index == 2:
            layer.module.register_forward_hook(set_scale)

    def forward(self, view: LayerView) -> Tensor:
        return (view.output.mean(0) - 1).square().mean() * self.scale


RULES = {"leaky": ForwardHook}
