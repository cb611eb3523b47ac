"""The third layer writes into the statistics of the first layer's batch norm, which no update reads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective


class Statistics(Objective):
    """Outputs shall have mean one."""

    locality = "local"

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        first = layers[0].module.modules()
        self.norms = [module for module in first if isinstance(module, nn.BatchNorm1d)]

    def loss(self, view: LayerView) -> Tensor:
        if view.layer.index == 2:
            with torch.no_grad():
                for norm in self.norms:
                    norm.running_mean += view.output.mean()
        return (view.output.mean(0) - 1).square().mean()


RULES = {"leaky": Statistics}
