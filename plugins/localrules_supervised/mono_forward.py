"""Each layer projects its output onto the classes, and that is also the answer."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.objective import Look, RuleConfig
from localrules_supervised.heads import LinearHead
from localrules_supervised.matching import classification_loss


class MonoForward(Objective):
    """``CE(G, y)`` with ``G = h M^T``: a layer's goodness for each class, through a matrix of its own without bias.

    The network's answer comes from these goodnesses: summed over layers, or the last layer's. So the readout is not
    needed; it learns beside the layers as for every rule, and can be asked instead.

    What differs: maps are averaged over a raster before ``M``, which starts at zero; all layers learn together on one
    forward pass.

    References:
        Gong, Li & Abdulla 2025, Mono-Forward, https://arxiv.org/abs/2501.09238.
    """

    class Config(RuleConfig):
        """Options of rule mono-forward."""

        answer: Literal["sum", "last", "readout"] = Field(
            "sum",
            description="What classifies: the goodness summed over layers, the last layer's (both are the paper's), or "
            "the readout (ours).",
        )
        grid: int = Field(
            4, ge=1, description="Maps are averaged over such a raster where the model names none (ours)."
        )

    formula: ClassVar[str] = "CE(G, y), G = h M^T; the answer is the sum of G over layers"
    requires: ClassVar[Requirements] = Requirements(auxiliary=True)

    config: MonoForward.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The matrix ``M``."""
        return LinearHead(layer.out_shape, num_classes, layer.pool_size or self.config.grid, bias=False)

    def loss(self, view: LayerView) -> Tensor:
        """The cross-entropy of the layer's goodness, a scalar."""
        assert view.auxiliary is not None
        return classification_loss(view, view.auxiliary)

    def predict(self, look: Look, images: Tensor, num_classes: int) -> Tensor | None:
        """Goodness for each class, shape (batch, classes); ``None`` where the readout answers."""
        if self.config.answer == "readout":
            return None
        views = look(images)
        return torch.stack([_goodness(view) for view in (views if self.config.answer == "sum" else views[-1:])]).sum(0)


def _goodness(view: LayerView) -> Tensor:
    assert view.auxiliary is not None
    goodness: Tensor = view.auxiliary(view.output)
    return goodness.float()
