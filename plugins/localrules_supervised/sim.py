"""Each layer makes samples of one class alike and samples of different classes unlike."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, Requirements
from localrules.core.objective import RuleConfig
from localrules_supervised.matching import PROJECTED, matching_loss, projection


class Sim(Objective):
    """``MSE(S(NN(h)), S(Y))``: the similarity matching loss of Nøkland & Eidnes.

    ``S`` is the matrix of cosines between samples, each less the mean of its own features; maps are first reduced to
    the standard deviation of each channel. ``NN`` is a matrix or a 3 x 3 convolution that learns with the layer.

    What differs: a wide vector is projected to fewer features than it has (``preset=paper``: as many). The paper adds
    dropout, which is the model's option here.

    References:
        Nøkland & Eidnes 2019, Training neural networks with local error signals, https://arxiv.org/abs/1901.06656;
        https://github.com/anokland/local-loss.
    """

    class Config(RuleConfig):
        """Options of rule sim."""

        projected: PositiveInt | Literal["all"] = Field(512, description=PROJECTED)

    formula: ClassVar[str] = "MSE(S(NN(h)), S(Y)), S the cosines between samples, each less its own mean"
    requires: ClassVar[Requirements] = Requirements(min_batch=2, global_batch=True, auxiliary=True)
    presets: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"projected": "all"}}

    config: Sim.Config

    def auxiliary(self, layer: Layer, num_classes: int) -> nn.Module:
        """The projection."""
        return projection(layer.out_shape, self.config.projected)

    def loss(self, view: LayerView) -> Tensor:
        """The mean squared difference of similarities, a scalar."""
        assert view.auxiliary is not None
        return matching_loss(view, view.auxiliary)
