"""Each layer predicts the label through a linear decoder of its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.objective import RuleConfig
from localrules_supervised.heads import LinearHead, halved_grid
from localrules_supervised.matching import classification_loss

DECODER = "Maps are averaged until no more than so many features go into the decoder (the paper's: 2048 to 4096)."


class Pred(Objective):
    """``CE(decoder(h), y)``: the prediction loss of Nøkland & Eidnes.

    It is ``local-ce`` with the paper's decoder, which sees maps as finely as its size allows, whatever their readers
    look at.

    What differs: dropout is the model's option here; the decoder's map is averaged over a square raster.

    References:
        Nøkland & Eidnes 2019, Training neural networks with local error signals, https://arxiv.org/abs/1901.06656;
        https://github.com/anokland/local-loss.
    """

    class Config(RuleConfig):
        """Options of rule pred."""

        features: int = Field(2048, ge=1, description=DECODER)

    formula: ClassVar[str] = "CE(decoder(h), y), a linear decoder"
    requires: ClassVar[Requirements] = Requirements(auxiliary=True)

    config: Pred.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The decoder, zero at first."""
        return LinearHead(layer.out_shape, num_classes, halved_grid(layer.out_shape, self.config.features))

    def loss(self, view: LayerView) -> Tensor:
        """The decoder's cross-entropy, a scalar."""
        assert view.auxiliary is not None
        return classification_loss(view, view.auxiliary)
