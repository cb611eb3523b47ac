"""ConvNeXt: residual blocks of one depthwise convolution and two linear operations."""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig
from localrules_classics.layers import require_side
from localrules_classics.tokens import LARGE


class ChannelNorm(nn.LayerNorm):
    """Layer norm of the channels at each position."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same shape."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """A depthwise 7 x 7 convolution, layer norm, two linear operations at each position; scaled and added to the input.

    Args:
        channels: Of input and output.
        scale: Initial factor of each channel, which is learned.
    """

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 4 * channels)
        self.reduce = nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, height, width) to the same shape."""
        positions = self.norm(self.depthwise(maps).permute(0, 2, 3, 1))
        positions = self.scale * self.reduce(functional.gelu(self.expand(positions)))
        return maps + positions.permute(0, 3, 1, 2)


class ConvNeXtTiny(Model):
    """A convolution of patches, stages of ConvNeXt blocks with halvings between, a classifier: 28.6 M parameters.

    Each block is a layer, and so are the first convolution and the halvings, each with its layer norm. What differs:
    blocks are scaled by 1 at first, not by 1e-6, so that a layer's own output depends on its weights; blocks are not
    dropped at random; patches are smaller for small images.

    References:
        Liu et al. 2022, A ConvNet for the 2020s, https://arxiv.org/abs/2201.03545.
    """

    class Config(RuleConfig):
        """Options of convnext_tiny."""

        patch: PositiveInt | Literal["auto"] = Field(
            "auto",
            description="Side and stride of the first convolution: a number (the paper's: 4), or auto: 2 for images of "
            "up to 64 pixels, 4 for larger ones (ours).",
        )
        width: int = Field(
            96, ge=1, description="Channels of the first stage, doubled by each further one (the paper's)."
        )
        blocks: tuple[PositiveInt, ...] = Field(
            (3, 3, 9, 3), min_length=1, max_length=8, description="Blocks of each stage (the paper's)."
        )
        scale: float = Field(1.0, gt=0, description="Initial factor of a block's output (ours; the paper's: 1e-6).")

    def __init__(self, config: ConvNeXtTiny.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        auto = 2 if max(shape[1:]) <= LARGE else 4
        patch = auto if config.patch == "auto" else config.patch
        require_side("convnext_tiny", shape, patch * 2 ** (len(config.blocks) - 1))
        channels = config.width
        self.stem = nn.Sequential(nn.Conv2d(shape[0], channels, patch, patch), ChannelNorm(channels))
        self.halvings, self.stages = nn.ModuleList(), nn.ModuleList()
        for stage, count in enumerate(config.blocks):
            if stage:
                self.halvings.append(
                    nn.Sequential(ChannelNorm(channels), nn.Conv2d(channels, 2 * channels, 2, stride=2))
                )
                channels *= 2
            self.stages.append(nn.Sequential(*(ConvNeXtBlock(channels, config.scale) for _ in range(count))))
        parts = [("pool", nn.AdaptiveAvgPool2d(1)), ("norm", ChannelNorm(channels)), ("flatten", nn.Flatten())]
        self.readout = nn.Sequential(OrderedDict([*parts, ("classifier", nn.Linear(channels, num_classes))]))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        names = ["stem", "halvings.*", "stages.*.*"]
        last = f"stages.{len(config.blocks) - 1}.{config.blocks[-1] - 1}"
        self.layer_spec = LayerSpec(layers=names, blocks=names, readout="readout", pool_size={last: 1})

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        maps = self.stem(images)
        for stage, blocks in enumerate(self.stages):
            if stage:
                maps = self.halvings[stage - 1](maps)
            maps = blocks(maps)
        return self.readout(maps)
