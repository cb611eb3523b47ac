"""Each layer has a small network of its own on top that classifies."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.objective import RuleConfig
from localrules_supervised.heads import mlp_sr
from localrules_supervised.matching import classification_loss


class DGL(Objective):
    """``CE(head(h), y)`` with a head of several layers: decoupled greedy learning.

    A layer need not make classes linearly separable any more, only ready for a few cheap layers to do so. The head,
    MLP-SR, shrinks maps to a quarter of their side, applies three 1 x 1 convolutions, averages to 2 x 2, and ends in
    three fully connected layers.

    What differs: the synchronous form only, no replay buffers; the fully connected layers are narrower
    (``preset=paper``: as wide as what they read); on vectors only they remain.

    References:
        Belilovsky, Eickenberg & Oyallon 2020, Decoupled greedy learning of CNNs, https://arxiv.org/abs/1901.08164;
        https://github.com/eugenium/DGL.
    """

    class Config(RuleConfig):
        """Options of rule dgl."""

        hidden: PositiveInt | Literal["all"] = Field(
            256,
            description="Units of the head's perceptron at most (ours); all: as many as it reads (the paper's).",
        )

    formula: ClassVar[str] = "CE(head(h), y), the head a small network (MLP-SR)"
    requires: ClassVar[Requirements] = Requirements(min_batch=2, auxiliary=True)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"hidden": "all"}}

    config: DGL.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The head."""
        return mlp_sr(layer.out_shape, num_classes, self.config.hidden)

    def loss(self, view: LayerView) -> Tensor:
        """The head's cross-entropy, a scalar."""
        assert view.auxiliary is not None
        return classification_loss(view, view.auxiliary)
