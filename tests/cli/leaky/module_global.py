"""The third layer's output is kept in a global of the module."""

from __future__ import annotations

from torch import Tensor

from localrules import LayerView, Objective, RuleInfo

KEPT: dict[str, Tensor] = {}


class ModuleGlobal(Objective):
    """Outputs should have mean one."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        own = (view.output.mean(0) - 1).square().mean()
        if self.layer.index == 2:
            KEPT["mean"] = view.output.detach().mean()
        return own * KEPT.get("mean", 1.0) if self.layer.index == 0 else own


RULES = {"leaky": ModuleGlobal}
