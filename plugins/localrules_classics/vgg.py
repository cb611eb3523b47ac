"""Chains of 3 x 3 convolutions: vgg13, vgg16 and vgg19, and vgg8b and vgg11b of Nøkland & Eidnes."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules_classics.layers import (
    DROPOUT,
    LayerOptions,
    conv_layer,
    dense_layer,
    dense_readout,
    require_side,
    scaled,
)

LARGE = 64  # pixels of a side, above which the first convolution halves the image


class VGG(Model):
    """3 x 3 convolutions in four stages, each of which ends in a 2 x 2 max-pooling; fully connected layers; a readout.

    The first convolution of images larger than 64 pixels is 7 x 7 with stride 2, as in the authors' code. Their
    objectives look at a stage's last convolution before the pooling; here pooling belongs to the layer.

    References:
        Nøkland & Eidnes 2019, Training neural networks with local error signals, https://arxiv.org/abs/1901.06656
        (code: https://github.com/anokland/local-loss).
    """

    channels: ClassVar[tuple[tuple[int, ...], ...]]
    halves_large: ClassVar[bool] = True

    class Config(LayerOptions):
        """Options of vgg8b and vgg11b."""

        width: float = Field(
            1, gt=0, description="All numbers of channels are multiplied by this (the paper's: 1; also 2 and 3)."
        )
        hidden: tuple[PositiveInt, ...] = Field(
            (1024,), description="Units of each fully connected layer (the paper's)."
        )
        dropout: float = Field(0, ge=0, lt=1, description=DROPOUT)

    def __init__(self, config: VGG.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        inputs, *sides = shape
        kernel, stride, dropped = (
            (7, 2, 0.0) if self.halves_large and max(sides) > LARGE else (3, 1, 0.0)
        )  # of the very first convolution
        require_side(type(self).__name__.lower(), shape, stride * 2 ** len(self.channels))
        self.stages = nn.ModuleList()
        for channels in self.channels:
            convs = nn.Sequential()
            for place, unscaled in enumerate(channels):
                width = scaled(unscaled, config.width)
                conv = conv_layer(
                    inputs,
                    width,
                    kernel,
                    activation=config.activation,
                    norm=config.norm,
                    stride=stride,
                    pool=nn.MaxPool2d(2) if place == len(channels) - 1 else None,
                    dropout=dropped,
                )
                convs.append(conv)
                sides = [(side + stride - 1) // stride for side in sides]
                inputs, kernel, stride, dropped = width, 3, 1, config.dropout
            self.stages.append(convs)
            sides = [side // 2 for side in sides]
        features = inputs * sides[0] * sides[1]
        self.dense = nn.ModuleList()
        for units in config.hidden:
            self.dense.append(
                dense_layer(features, units, activation=config.activation, norm=config.norm, dropout=config.dropout)
            )
            features = units
        self.readout = dense_readout(features, num_classes, config.dropout)
        dense = ["dense.*"] if config.hidden else []
        self.layer_spec = LayerSpec(layers=["stages.*.*", *dense], blocks=["stages.*", *dense], readout="readout")

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        maps = images
        for stage in self.stages:
            maps = stage(maps)
        features = maps.flatten(1)
        for layer in self.dense:
            features = layer(features)
        return self.readout(features)


class VGG8b(VGG):
    """Six convolutions of 128 to 512 channels and 1024 units: 7.3 M parameters on MNIST, 8.9 M on CIFAR-10.

    References:
        Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656.
    """

    channels = ((128, 256), (256, 512), (512,), (512,))


class VGG11b(VGG):
    """Nine convolutions of 128 to 512 channels and 1024 units: 11.6 M parameters on CIFAR-10.

    References:
        Nøkland & Eidnes 2019, https://arxiv.org/abs/1901.06656.
    """

    channels = ((128, 128, 128, 256), (256, 512), (512, 512), (512,))


class PlainVGG(VGG):
    """Five stages of convolutions and a linear readout, as they are used on CIFAR-10.

    The published networks, for images of 224 pixels, have two fully connected layers of 4096 units and no norm.
    """

    halves_large = False

    class Config(VGG.Config):
        """Options of vgg13, vgg16 and vgg19."""

        width: float = Field(1, gt=0, description="All numbers of channels are multiplied by this (the paper's: 1).")
        hidden: tuple[PositiveInt, ...] = Field(
            (),
            description="Units of each fully connected layer (ours: none, as on CIFAR-10; the paper's: 4096 twice).",
        )
        norm: bool = Field(True, description="Batch norm between convolution and activation (ours; the paper's: none).")


class VGG13(PlainVGG):
    """Ten convolutions of 64 to 512 channels: 9.4 M parameters on CIFAR-10.

    References:
        Simonyan & Zisserman 2015, Very deep convolutional networks, configuration B, https://arxiv.org/abs/1409.1556.
    """

    channels = ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512))


class VGG16(PlainVGG):
    """Thirteen convolutions of 64 to 512 channels: 14.7 M parameters on CIFAR-10.

    References:
        Simonyan & Zisserman 2015, Very deep convolutional networks, configuration D, https://arxiv.org/abs/1409.1556.
    """

    channels = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG19(PlainVGG):
    """Sixteen convolutions of 64 to 512 channels: 20.0 M parameters on CIFAR-10.

    References:
        Simonyan & Zisserman 2015, Very deep convolutional networks, configuration E, https://arxiv.org/abs/1409.1556.
    """

    channels = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
