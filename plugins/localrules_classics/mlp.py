"""A plain multi-layer perceptron."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from localrules import Model
from localrules.core.marks import Marks
from localrules.core.objective import Options

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "elu": nn.ELU}


class MLP(Model):
    """Fully connected layers, each linear, norm, activation; a linear readout.

    Three layers of 1024 units are the network of Nøkland & Eidnes 2019 (https://arxiv.org/abs/1901.06656) and Pogodin &
    Latham 2020 (https://arxiv.org/abs/2006.07123).
    """

    class Config(Options):
        """Options of mlp."""

        hidden: tuple[int, ...] = Field((1024, 1024, 1024), min_length=1, description="Units of each hidden layer.")
        activation: Literal["relu", "tanh", "elu"] = Field("relu", description="relu, tanh or elu.")
        norm: bool = Field(True, description="Batch norm between matrix and activation (ours).")

    def __init__(self, config: MLP.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        width = math.prod(shape)
        self.layers = nn.ModuleList()
        for units in config.hidden:
            norm = [nn.BatchNorm1d(units)] if config.norm else []
            self.layers.append(nn.Sequential(nn.Linear(width, units), *norm, ACTIVATIONS[config.activation]()))
            width = units
        self.readout = nn.Linear(width, num_classes)
        self.marks = Marks(layers=["layers.*"], blocks=["layers.*"], readout="readout")

    def forward(self, images: Tensor) -> Tensor:
        """(batch, ...) to logits, (batch, classes)."""
        features = images.flatten(1)
        for layer in self.layers:
            features = layer(features)
        return self.readout(features)
