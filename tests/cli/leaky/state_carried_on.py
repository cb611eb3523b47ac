"""What the third layer gave in one step scales the first layer's objective in the next."""

from __future__ import annotations

import torch
from torch import Tensor

from localrules import LayerView, Objective


class StateCarriedOn(Objective):
    """Outputs shall have mean one."""

    locality = "local"

    def __init__(self, config: object = None) -> None:
        super().__init__()
        self.register_buffer("last", torch.ones(()))

    def loss(self, view: LayerView) -> Tensor:
        own = (view.output.mean(0) - 1).square().mean()
        if view.layer.index == 2:
            self.last = view.output.detach().mean()
        return own * self.last if view.layer.index == 0 else own


RULES = {"leaky": StateCarriedOn}
