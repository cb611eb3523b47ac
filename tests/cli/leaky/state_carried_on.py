"""The third layer's output in one step scales the first layer's objective in the next."""

from __future__ import annotations

import torch
from torch import Tensor

from localrules import Layer, LayerView, Objective, RuleConfig, RuleInfo

SHARED: dict[str, Tensor] = {}


class StateCarriedOn(Objective):
    """Outputs should have mean one."""

    info = RuleInfo(locality="local")
    last: Tensor

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if layer.index == 0:
            SHARED["last"] = torch.ones(())
        self.register_buffer("last", SHARED["last"])  # one tensor for all layers

    def forward(self, view: LayerView) -> Tensor:
        own = (view.output.mean(0) - 1).square().mean()
        if self.layer.index == 2:
            self.last.copy_(view.output.detach().mean())
        return own * self.last.clone() if self.layer.index == 0 else own


RULES = {"leaky": StateCarriedOn}
