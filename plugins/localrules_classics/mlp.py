"""A plain multi-layer perceptron."""

from __future__ import annotations

import math

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules_classics.layers import DROPOUT, LayerOptions, dense_layer, dense_readout


class MLP(Model):
    """Fully connected layers, each linear, norm, activation; a linear readout.

    References:
        Three layers of 1024 units are the network of Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656, and of
        Pogodin & Latham 2020, https://arxiv.org/abs/2006.07123, whose hidden layers have neither norm nor bias.
    """

    class Config(LayerOptions):
        """Options of mlp."""

        hidden: tuple[PositiveInt, ...] = Field(
            (1024, 1024, 1024), min_length=1, description="Units of each hidden layer (the papers')."
        )
        norm: bool = Field(True, description="Batch norm between matrix and activation (ours).")
        bias: bool = Field(True, description="Whether hidden layers have a bias (ours).")
        dropout: float = Field(0, ge=0, lt=1, description=DROPOUT)

    def __init__(self, config: MLP.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        width = math.prod(shape)
        self.layers = nn.ModuleList()
        for index, units in enumerate(config.hidden):
            layer = dense_layer(
                width,
                units,
                activation=config.activation,
                norm=config.norm,
                dropout=config.dropout if index else 0,
                bias=config.bias,
            )
            self.layers.append(layer)
            width = units
        self.readout = dense_readout(width, num_classes, config.dropout)
        self.layer_spec = LayerSpec(layers=["layers.*"], blocks=["layers.*"], readout="readout")

    def forward(self, images: Tensor) -> Tensor:
        """(batch, ...) to logits, (batch, classes)."""
        features = images.flatten(1)
        for layer in self.layers:
            features = layer(features)
        return self.readout(features)
