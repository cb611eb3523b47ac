"""Similarity matching: samples of one class become similar, samples of different classes dissimilar."""

from __future__ import annotations

import math

from pydantic import Field
from torch import Tensor, nn

from localrules import Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo, SearchChoice
from localrules.kernels.similarity import labels_similarity, similarity, similarity_loss
from localrules_supervised.heads import Width, limit_width


class Sim(Objective):
    """``MSE(S(NN(h)), S(Y))``: the similarity matching loss of Nøkland & Eidnes.

    ``S`` is the matrix of cosine similarities between samples, each less the mean of its own features; feature maps are
    first reduced to the std of each channel. ``NN`` is a linear map or a 3 x 3 convolution, without bias, that is
    trained with the layer.

    What differs: a wide vector is projected to fewer features than it has (``preset=paper``: as many). The paper adds
    dropout, which is the model's option here.

    References:
        Nøkland & Eidnes 2019, Training neural networks with local error signals, https://arxiv.org/abs/1901.06656;
        https://github.com/anokland/local-loss.
    """

    class Config(RuleConfig):
        """Options of rule sim."""

        projected: Width = Field(
            512,
            description="Largest number of features to which a vector is projected (ours: 512, as a square linear map "
            "of 1024 units costs more than the layer itself); all: as many as it has (the paper's).",
        )

    info = RuleInfo(
        search_space={"projected": SearchChoice((128, 512, "all"))},
        formula="MSE(S(NN(h)), S(Y)), S the cosines between samples, each less its own mean",
        requires=Requirements(min_batch=2, targets="probabilities", global_batch=True),
        presets={"paper": {"projected": "all"}},
        autocast=True,
    )

    config: Sim.Config

    def __init__(self, config: Config, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.projection: nn.Module
        if len(layer.out_shape) == 3:
            channels = layer.out_channels
            self.projection = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        else:
            units = math.prod(layer.out_shape)
            linear = nn.Linear(units, limit_width(config.projected, units), bias=False)
            self.projection = nn.Sequential(nn.Flatten(), linear)

    def forward(self, view: LayerView) -> Tensor:
        """The mean squared difference of similarities, a scalar."""
        target: Tensor = view.batch.cached(
            "similarity of labels", lambda: labels_similarity(view.targets, view.num_classes)
        )
        return similarity_loss(similarity(self.projection(view.output)), target)
