"""DenseNet-BC: each convolution reads all earlier ones of its block."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules_classics.activations import ACTIVATIONS
from localrules_classics.layers import (
    LayerOptions,
    conv_layer,
    global_readout,
    initialise_as_he,
    require_side,
    scaled,
)

BLOCKS = 3
BOTTLENECK = 4  # the 1 x 1 convolution has so many times the growth


class DenseNetBC(Model):
    """Three dense blocks, joined by 1 x 1 convolutions with average pooling; the mean of each map; a classifier.

    A block's step is a 1 x 1 convolution over all maps so far and a 3 x 3 convolution that adds ``growth`` maps.

    The paper puts norm and activation in front of each convolution. Then something that learns stands in front of a
    layer's convolution, a local step needs the gradient of that convolution's input, and what a layer hands on has no
    activation. So by default they stand behind it. That changes less than it seems: batch norm works channel by
    channel, so normalising all maps anew for each reader gives what normalising each map once gives, up to the
    reader's own scale and shift. The reader's kernel can take up the scale; the shift is then shared by all readers.
    ``order=norm-first`` is the paper's network.

    References:
        Huang, Liu, van der Maaten & Weinberger 2017, Densely connected convolutional networks,
        https://arxiv.org/abs/1608.06993.
    """

    class Config(LayerOptions):
        """Options of densenet_bc."""

        depth: int = Field(
            100,
            le=1000,
            description="Layers with weights, 6 n + 4: n steps in each of three blocks (the paper's: 100).",
        )
        growth: int = Field(12, ge=1, description="Maps that each step adds (the paper's: 12).")
        compression: float = Field(
            0.5, gt=0, le=1, description="Fraction of the maps that is kept between blocks (the paper's: 0.5)."
        )
        order: Literal["conv-first", "norm-first"] = Field(
            "conv-first",
            description="conv-first: convolution, norm, activation (ours). norm-first: norm, activation, convolution "
            "(the paper's).",
        )

        @field_validator("depth")
        @classmethod
        def _fits_three_blocks(cls, depth: int) -> int:
            if depth < 10 or (depth - 4) % (2 * BLOCKS):
                raise ValueError("depth must be 6 n + 4, such as 10, 40 or 100")
            return depth

    config: DenseNetBC.Config

    def __init__(self, config: DenseNetBC.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        require_side("densenet_bc", shape, 2 ** (BLOCKS - 1))
        channels, count = 2 * config.growth, (config.depth - 4) // (2 * BLOCKS)
        norm_first = config.order == "norm-first"
        self.stem = (
            nn.Sequential(OrderedDict(conv=nn.Conv2d(shape[0], channels, 3, padding=1, bias=not config.norm)))
            if norm_first
            else self._layer(shape[0], channels, 3)
        )
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        for index in range(BLOCKS):
            if index:
                kept = scaled(channels, config.compression)
                self.transitions.append(self._layer(channels, kept, 1, pool=nn.AvgPool2d(2)))
                channels = kept
            steps = []
            for _ in range(count):
                width = BOTTLENECK * config.growth
                steps.append(DenseStep(self._layer(channels, width, 1), self._layer(width, config.growth, 3)))
                channels += config.growth
            self.blocks.append(nn.Sequential(*steps))
        readout = global_readout(channels, num_classes)
        self.readout = nn.Sequential(*self._norm_and_activation(channels).values(), *readout) if norm_first else readout
        initialise_as_he(self)
        last = f"blocks.{BLOCKS - 1}"
        self.layer_spec = LayerSpec(
            layers=["stem", "blocks.*.*.bottleneck", "blocks.*.*.growth", "transitions.*"],
            blocks=["stem", "blocks.*", "transitions.*"],
            readout="readout",
            pool_size={last: 1, f"{last}.{count - 1}.growth": 1},
        )

    def _layer(self, inputs: int, channels: int, kernel: int, pool: nn.Module | None = None) -> nn.Sequential:
        activation, norm = self.config.activation, self.config.norm
        if self.config.order == "conv-first":
            return conv_layer(inputs, channels, kernel, activation=activation, norm=norm, pool=pool)
        parts = self._norm_and_activation(inputs)
        parts["conv"] = nn.Conv2d(inputs, channels, kernel, padding=kernel // 2, bias=not norm)
        if pool is not None:
            parts["pool"] = pool
        return nn.Sequential(parts)

    def _norm_and_activation(self, channels: int) -> OrderedDict[str, nn.Module]:
        norm = OrderedDict(norm=nn.BatchNorm2d(channels)) if self.config.norm else OrderedDict()
        return OrderedDict(**norm, activation=ACTIVATIONS[self.config.activation]())

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        maps = self.blocks[0](self.stem(images))
        for transition, block in zip(self.transitions, self.blocks[1:], strict=True):
            maps = block(transition(maps))
        return self.readout(maps)


class DenseStep(nn.Module):
    """Two layers that add ``growth`` maps to those that they read."""

    def __init__(self, bottleneck: nn.Module, growth: nn.Module) -> None:
        super().__init__()
        self.bottleneck = bottleneck
        self.growth = growth

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, channels + growth, height, width)."""
        return torch.cat([maps, self.growth(self.bottleneck(maps))], 1)
