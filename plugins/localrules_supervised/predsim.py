"""Each layer predicts the label and matches similarities."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.objective import RuleConfig
from localrules_supervised.heads import LinearHead, halved_grid
from localrules_supervised.matching import PROJECTED, classification_loss, matching_loss, projection
from localrules_supervised.pred import DECODER


class PredSim(Objective):
    """``(1 - beta) pred + beta sim`` with ``beta = 0.99`` on ``sim``: both losses of Nøkland & Eidnes.

    It is often implemented the other way round. The paper's code has 0.99 on the similarity loss, whose mean squared
    differences are small numbers beside a cross-entropy.

    What differs: the readout is trained by the whole cross-entropy, where the paper's code weighs it by ``1 - beta``
    (Adam does not feel the difference); a wide vector is projected to fewer features than it has (``preset=paper``: as
    many); dropout is the model's option here.

    References:
        Nøkland & Eidnes 2019, Training neural networks with local error signals, https://arxiv.org/abs/1901.06656;
        https://github.com/anokland/local-loss.
    """

    class Config(RuleConfig):
        """Options of rule predsim."""

        beta: float = Field(0.99, ge=0, le=1, description="Weight of sim; pred has the rest (the paper's).")
        features: int = Field(2048, ge=1, description=DECODER)
        projected: PositiveInt | Literal["all"] = Field(512, description=PROJECTED)

    formula: ClassVar[str] = "(1 - beta) CE(decoder(h), y) + beta MSE(S(NN(h)), S(Y)), beta = 0.99"
    requires: ClassVar[Requirements] = Requirements(min_batch=2, global_batch=True, auxiliary=True)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"projected": "all"}}

    config: PredSim.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The decoder, zero at first, and the projection."""
        grid = halved_grid(layer.out_shape, self.config.features)
        decoder = LinearHead(layer.out_shape, num_classes, grid)
        return nn.ModuleDict({"decoder": decoder, "projection": projection(layer.out_shape, self.config.projected)})

    def loss(self, view: LayerView) -> dict[str, Tensor]:
        """The two losses as they are weighed, scalars."""
        assert isinstance(view.auxiliary, nn.ModuleDict)
        return {
            "pred": (1 - self.config.beta) * classification_loss(view, view.auxiliary["decoder"]),
            "sim": self.config.beta * matching_loss(view, view.auxiliary["projection"]),
        }
