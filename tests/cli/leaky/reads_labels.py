"""Claims to need no labels, and reads them."""

from __future__ import annotations

from torch import Tensor

from localrules import LayerView, Objective, RuleInfo


class ReadsLabels(Objective):
    """Images of class 0 should give larger outputs than others."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        return (view.output.mean(1) - (view.labels == 0).float()).square().mean()


RULES = {"labels": ReadsLabels}
