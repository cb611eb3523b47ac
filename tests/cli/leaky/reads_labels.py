"""Says that it needs no labels, and reads them."""

from __future__ import annotations

from torch import Tensor

from localrules import LayerView, Objective


class ReadsLabels(Objective):
    """Pictures of class 0 shall be seen stronger than others."""

    locality = "local"

    def loss(self, view: LayerView) -> Tensor:
        return (view.output.mean(1) - (view.labels == 0).float()).square().mean()


RULES = {"labels": ReadsLabels}
