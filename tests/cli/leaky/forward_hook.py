"""A hook on the third layer's module tells the first what it gave."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from localrules import Layer, LayerView, Objective


class ForwardHook(Objective):
    """Outputs shall have mean one."""

    locality = "local"

    def prepare(self, layers: Sequence[Layer], num_classes: int) -> None:
        self.told = 1.0

        def tell(module: Any, inputs: Any, output: Tensor) -> None:
            self.told = float(output.detach().mean())

        layers[2].module.register_forward_hook(tell)

    def loss(self, view: LayerView) -> Tensor:
        own = (view.output.mean(0) - 1).square().mean()
        return own * self.told if view.layer.index == 0 else own


RULES = {"leaky": ForwardHook}
