"""What the third layer gave is kept in a global of the module."""

from __future__ import annotations

from torch import Tensor

from localrules import LayerView, Objective

KEPT: dict[str, Tensor] = {}


class ModuleGlobal(Objective):
    """Outputs shall have mean one."""

    locality = "local"

    def loss(self, view: LayerView) -> Tensor:
        own = (view.output.mean(0) - 1).square().mean()
        if view.layer.index == 2:
            KEPT["mean"] = view.output.detach().mean()
        return own * KEPT.get("mean", 1.0) if view.layer.index == 0 else own


RULES = {"leaky": ModuleGlobal}
