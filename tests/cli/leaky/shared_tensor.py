"""Every layer's objective uses a tensor to which all of them write."""

from __future__ import annotations

import torch
from torch import Tensor

from localrules import Layer, LayerView, Objective, RuleConfig, RuleInfo

SHARED: dict[str, Tensor] = {}


class SharedTensor(Objective):
    """Outputs should be small after a product with the shared tensor."""

    info = RuleInfo(locality="local")
    shared: Tensor

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if layer.index == 0:
            SHARED["tensor"] = torch.eye(4)
        self.register_buffer("shared", SHARED["tensor"])

    def forward(self, view: LayerView) -> Tensor:
        few = view.output[:, :4]
        with torch.no_grad():
            self.shared += 0.01 * few.T @ few
        return (few @ self.shared).square().mean()


RULES = {"leaky": SharedTensor}
