"""BN-Inception, also known as Inception v2."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules_classics.input_size import Size, described, side_of, sized, to_rgb_channels
from localrules_classics.layers import LayerOptions, conv_layer, global_readout, initialise_as_he, scaled

NATIVE, LEAST = 224, 16  # pixels of a side: as published, and below which nothing would be left


@dataclass(frozen=True)
class Mix:
    """Channels of a module's branches, as the paper's table has them.

    Attributes:
        one: Of the 1 x 1 branch; 0 for none, in a module that halves the maps and passes its pooled input through.
        three: Of the 3 x 3 branch: the reduction, and what it gives.
        double: Of the branch with two 3 x 3: the reduction, and what it gives.
        pooled: Of the projection behind the pooling; 0 for none.
        pooling: How its input is pooled.
    """

    one: int
    three: tuple[int, int]
    double: tuple[int, int]
    pooled: int
    pooling: str = "average"

    @property
    def halves(self) -> bool:
        """Whether the module has stride 2."""
        return self.one == 0

    def scaled(self, width: float) -> Mix:
        """The module with its numbers of channels multiplied by a factor."""
        one, pooled = (scaled(channels, width) if channels else 0 for channels in (self.one, self.pooled))
        three, double = ((scaled(pair[0], width), scaled(pair[1], width)) for pair in (self.three, self.double))
        return Mix(one, three, double, pooled, self.pooling)


STEM = (64, 64, 192)
MIXES = (
    Mix(64, (64, 64), (64, 96), 32),
    Mix(64, (64, 96), (64, 96), 64),
    Mix(0, (128, 160), (64, 96), 0, "max"),
    Mix(224, (64, 96), (96, 128), 128),
    Mix(192, (96, 128), (96, 128), 128),
    Mix(160, (128, 160), (128, 160), 128),
    Mix(96, (128, 192), (160, 192), 128),
    Mix(0, (128, 192), (192, 256), 0, "max"),
    Mix(352, (192, 320), (160, 224), 128),
    Mix(352, (192, 320), (192, 224), 128, "max"),
)
"""Modules 3a to 3c, 4a to 4e, 5a and 5b."""


class InceptionModule(nn.Module):
    """Four branches that read the same maps; their outputs are concatenated by channel, ``channels`` in all."""

    def __init__(self, inputs: int, mix: Mix, options: LayerOptions) -> None:
        super().__init__()

        def conv(before: int, channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
            return conv_layer(before, channels, kernel, stride=stride, activation=options.activation, norm=options.norm)

        stride = 2 if mix.halves else 1
        branches: dict[str, nn.Module] = {}
        if mix.one:
            branches["one"] = conv(inputs, mix.one, 1)
        reduced, three = mix.three
        branches["three"] = nn.Sequential(conv(inputs, reduced, 1), conv(reduced, three, 3, stride))
        reduced, double = mix.double
        branches["twice"] = nn.Sequential(
            conv(inputs, reduced, 1), conv(reduced, double, 3), conv(double, double, 3, stride)
        )
        self.branches = nn.ModuleDict(branches)
        pooling = nn.MaxPool2d if mix.pooling == "max" else nn.AvgPool2d
        self.pool = pooling(3, stride, padding=1)
        self.projection = conv(inputs, mix.pooled, 1) if mix.pooled else None
        self.channels = mix.one + three + double + (mix.pooled or inputs)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, channels, height / stride, width / stride)."""
        found = [branch(maps) for branch in self.branches.values()]
        pooled = self.pool(maps)
        found.append(pooled if self.projection is None else self.projection(pooled))
        return torch.cat(found, 1)


class InceptionV2(Model):
    """A stem of three convolutions and ten inception modules, batch norm behind each: 10.3 M parameters, 7 classes.

    Each convolution is a layer; a block is one of the stem's convolutions or a module. Where the paper's table
    contradicts itself, it is followed in the widths of the branches: modules 4c and 4d then give 608 channels, and 4e
    gives 1056. What differs from the paper: the first convolution is a full one, not split by channel; there
    are not side classifiers.

    References:
        Ioffe & Szegedy 2015, Batch normalization, appendix, figure 5, https://arxiv.org/abs/1502.03167.
    """

    class Config(LayerOptions):
        """Options of inception_v2."""

        size: Size = Field("as-is", description=described(NATIVE, LEAST))
        width: float = Field(1, gt=0, description="All numbers of channels are multiplied by this (the paper's: 1).")
        depth: int = Field(
            len(MIXES), ge=1, le=len(MIXES), description="Modules, counted from the images (the paper's: 10)."
        )

    config: InceptionV2.Config

    def __init__(self, config: InceptionV2.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        self._side = side_of(config.size, shape, NATIVE, LEAST)
        colours = to_rgb_channels("inception_v2", shape)
        first, reduced, third = (scaled(channels, config.width) for channels in STEM)
        activation, norm = config.activation, config.norm
        self.stem = nn.Sequential(
            conv_layer(colours, first, 7, stride=2, activation=activation, norm=norm, pool=_halving()),
            conv_layer(first, reduced, 1, activation=activation, norm=norm),
            conv_layer(reduced, third, 3, activation=activation, norm=norm, pool=_halving()),
        )
        self.mixed = nn.ModuleList()
        channels = third
        for mix in MIXES[: config.depth]:
            module = InceptionModule(channels, mix.scaled(config.width), config)
            self.mixed.append(module)
            channels = module.channels
        self.readout = global_readout(channels, num_classes)
        initialise_as_he(self)
        branches = [f"mixed.*.branches.{name}" for name in ("one", "three.*", "twice.*")]
        self.layer_spec = LayerSpec(
            layers=["stem.*", *branches, "mixed.*.projection"],
            blocks=["stem.*", "mixed.*"],
            readout="readout",
        )

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        maps = self.stem(sized(images, self._side))
        for module in self.mixed:
            maps = module(maps)
        return self.readout(maps)


def _halving() -> nn.Module:
    return nn.MaxPool2d(3, stride=2, padding=1)
