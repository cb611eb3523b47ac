"""LeNet-5: two convolutions with pooling, two fully connected layers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules_classics.layers import DROPOUT, LayerOptions, conv_layer, dense_layer, dense_readout

POOLINGS: dict[str, type[nn.MaxPool2d] | type[nn.AvgPool2d]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}


class LeNet(Model):
    """Convolutions of 6 and 16 channels, layers of 120 and 84 units, a linear readout: 61,706 parameters.

    Images smaller than 32 x 32 stand in the middle of a field of zeros of that size, as LeCun's of 28 x 28 do, so
    images of any size fit; ``field`` makes it smaller. Of larger ones the layer of 120 units reads a larger map.

    As it is used today, every map of the second convolution reads every map of the first, pooling learns nothing and
    the readout is linear. Activation and pooling are those with which feedback alignment was measured on it.

    References:
        LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition,
        https://doi.org/10.1109/5.726791. With relu and max-pooling: Sanfiz & Akrout 2021,
        https://arxiv.org/abs/2108.13446.
    """

    class Config(LayerOptions):
        """Options of lenet."""

        norm: bool = Field(False, description="Batch norm between matrix and activation (the papers': none).")
        pooling: Literal["max", "average"] = Field(
            "max", description="How maps are halved: max (Sanfiz & Akrout's paper) or average (LeCun's paper)."
        )
        field: int = Field(
            32, ge=16, description="Side of the field of zeros in which smaller images stand (LeCun's paper: 32)."
        )
        dropout: float = Field(0, ge=0, lt=1, description=DROPOUT)

    def __init__(self, config: LeNet.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        activation, norm, dropout = config.activation, config.norm, config.dropout
        pool = POOLINGS[config.pooling]
        rows, columns = (max(0, config.field - side + 1) // 2 for side in shape[1:])
        self.convs = nn.ModuleList(
            [
                conv_layer(shape[0], 6, 5, activation=activation, norm=norm, padding=(rows, columns), pool=pool(2)),
                conv_layer(6, 16, 5, activation=activation, norm=norm, padding=(0, 0), pool=pool(2), dropout=dropout),
            ]
        )
        height, width = (
            ((side + 2 * pad - 4) // 2 - 4) // 2 for side, pad in zip(shape[1:], (rows, columns), strict=True)
        )
        self.dense = nn.ModuleList(
            dense_layer(inputs, units, activation=activation, norm=norm, dropout=dropout)
            for inputs, units in ((16 * height * width, 120), (120, 84))
        )
        self.readout = dense_readout(84, num_classes, dropout)
        self.layer_spec = LayerSpec(layers=["convs.*", "dense.*"], blocks=["convs.*", "dense.*"], readout="readout")

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        maps = images
        for conv in self.convs:
            maps = conv(maps)
        features = maps.flatten(1)
        for layer in self.dense:
            features = layer(features)
        return self.readout(features)
