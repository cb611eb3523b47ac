"""The third layer writes into the statistics of the first layer's batch norm, which no update reads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, RuleConfig, RuleInfo

FIRST: list[nn.BatchNorm1d] = []


class Statistics(Objective):
    """Outputs should have mean one."""

    info = RuleInfo(locality="local")

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if layer.index == 0:
            FIRST[:] = [module for module in layer.module.modules() if isinstance(module, nn.BatchNorm1d)]

    def forward(self, view: LayerView) -> Tensor:
        if self.layer.index == 2:
            with torch.no_grad():
                for norm in FIRST:
                    norm.running_mean += view.output.mean()
        return (view.output.mean(0) - 1).square().mean()


RULES = {"leaky": Statistics}
