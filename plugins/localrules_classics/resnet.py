"""Residual networks: resnet20, resnet32, resnet110 and wide_resnet for small images, resnet18 for large ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules_classics.activations import ACTIVATIONS, Activation
from localrules_classics.layers import LayerOptions, conv_layer, global_readout, initialise_as_he

LARGE = 64  # pixels of a side, from which on torchvision's stem is used

Shortcut = Literal["pad", "project"]
Stem = Literal["small", "large", "auto"]


def _blocks(*default: int) -> Any:
    return Field(default or ..., min_length=1, description="Residual blocks of each stage (the paper's).")


def _width(default: Any = ...) -> Any:
    return Field(default, ge=1, description="Channels of the first stage (the paper's).")


class Padded(nn.Module):
    """A shortcut that learns nothing: every second row and column, and channels of zeros at the end."""

    def __init__(self, stride: int, added: int) -> None:
        super().__init__()
        self._stride, self._added = stride, added

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, channels + added, height / stride, width / stride)."""
        return functional.pad(maps[:, :, :: self._stride, :: self._stride], (0, 0, 0, 0, 0, self._added))


class AddingLayer(nn.Module):
    """The second layer of a residual block: it reads the first one's output and the block's input.

    Convolution and norm of the one, plus the other; then the activation. So what leaves the layer is what its
    objective judges, and nothing is added behind its back. A 1 x 1 projection of the block's input learns here too,
    from the same objective, as in the code of Nøkland & Eidnes 2019 (https://github.com/anokland/local-loss).
    """

    def __init__(
        self, channels: int, shortcut: nn.Module, *, activation: Activation, norm: bool, dropout: float = 0
    ) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.shortcut = shortcut
        self.activation = ACTIVATIONS[activation]()

    def forward(self, maps: Tensor, block_input: Tensor) -> Tensor:
        """(batch, channels, height, width), and what the block read, to (batch, channels, height, width)."""
        return self.activation(self.norm(self.conv(self.dropout(maps))) + self.shortcut(block_input))


class ResidualBlock(nn.Module):
    """Two convolutions of 3 x 3, the second of which adds the block's input."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
        *,
        project: bool,
        activation: Activation,
        norm: bool,
        dropout: float = 0,
    ) -> None:
        super().__init__()
        self.first = conv_layer(inputs, channels, 3, stride=stride, activation=activation, norm=norm)
        shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != channels:
            projection: list[nn.Module] = [nn.Conv2d(inputs, channels, 1, stride, bias=not norm)]
            if norm:
                projection.append(nn.BatchNorm2d(channels))
            shortcut = nn.Sequential(*projection) if project else Padded(stride, channels - inputs)
        self.second = AddingLayer(channels, shortcut, activation=activation, norm=norm, dropout=dropout)

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, inputs, height, width) to (batch, channels, height / stride, width / stride)."""
        return self.second(self.first(maps), maps)


class ResNet(Model):
    """A stem, stages of residual blocks, the mean of each map, a linear classifier.

    Every stage but the first halves height and width, rounding up, and doubles the channels, so images of any size
    fit. Nothing but shortcuts runs between layers.

    References:
        He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition, https://arxiv.org/abs/1512.03385.
    """

    class Config(LayerOptions):
        """Options of residual networks."""

        blocks: tuple[Annotated[int, Field(gt=0, le=500)], ...] = _blocks()
        width: int = _width()
        shortcut: Shortcut = Field(
            description="How a block's input is brought to its output's shape: padded with zeros, or by a 1 x 1 "
            "convolution (the paper's: pad in resnet20, project in resnet18)."
        )
        stem: Stem = Field(
            description="small: 3 x 3, the paper's for resnet20. large: 7 x 7 with stride 2 and max-pooling, the "
            "paper's for resnet18. auto: large from 64 pixels on, small below (ours)."
        )

    config: Any

    def __init__(self, config: Any, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        activation, norm = config.activation, config.norm
        if config.stem == "large" or (config.stem == "auto" and max(shape[1:]) >= LARGE):
            pool = nn.MaxPool2d(3, stride=2, padding=1)
            self.stem = conv_layer(shape[0], config.width, 7, stride=2, activation=activation, norm=norm, pool=pool)
        else:
            self.stem = conv_layer(shape[0], config.width, 3, activation=activation, norm=norm)
        widths = [config.width * 2**stage for stage in range(len(config.blocks))]
        self._add_stages(config.width, widths, config.blocks, project=config.shortcut == "project")

    def _add_stages(
        self, inputs: int, widths: Sequence[int], blocks: Sequence[int], *, project: bool, dropout: float = 0
    ) -> None:
        """Blocks and readout; every stage but the first begins with stride 2.

        Args:
            inputs: Channels that the stem gives.
            widths: Channels of each stage.
            blocks: Blocks of each stage.
            project: Whether a shortcut that changes its shape is a convolution.
            dropout: Between the two convolutions of a block.
        """
        self.blocks = nn.ModuleList()
        for stage, (channels, count) in enumerate(zip(widths, blocks, strict=True)):
            for place in range(count):
                block = ResidualBlock(
                    inputs,
                    channels,
                    stride=2 if stage and not place else 1,
                    project=project,
                    activation=self.config.activation,
                    norm=self.config.norm,
                    dropout=dropout,
                )
                self.blocks.append(block)
                inputs = channels
        self.readout = global_readout(inputs, self.num_classes)
        initialise_as_he(self)
        last = f"blocks.{len(self.blocks) - 1}"
        self.layer_spec = LayerSpec(
            layers=["stem", "blocks.*.first", "blocks.*.second"],
            blocks=["stem", "blocks.*"],
            readout="readout",
            pool_size={last: 1, f"{last}.second": 1},
        )

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        maps = self.stem(images)
        for block in self.blocks:
            maps = block(maps)
        return self.readout(maps)


class ResNet20(ResNet):
    """Three stages of three blocks from 16 channels on: 0.27 M parameters. ``blocks=[9,9,9]`` makes it resnet56.

    References:
        He et al. 2016, section 4.2, https://arxiv.org/abs/1512.03385.
    """

    class Config(ResNet.Config):
        """Options of resnet20."""

        blocks: tuple[Annotated[int, Field(gt=0, le=500)], ...] = _blocks(3, 3, 3)
        width: int = _width(16)
        shortcut: Shortcut = Field(
            "pad",
            description="How a block's input is brought to its output's shape: padded with zeros (the paper's), or "
            "by a 1 x 1 convolution.",
        )
        stem: Stem = Field(
            "small",
            description="small: 3 x 3 (the paper's). large: 7 x 7 with stride 2 and max-pooling. auto: large from 64 "
            "pixels on, small below.",
        )


class ResNet32(ResNet20):
    """Three stages of five blocks from 16 channels on: 0.46 M parameters. ``block`` cuts it into 16 parts.

    References:
        He et al. 2016, section 4.2, https://arxiv.org/abs/1512.03385.
    """

    class Config(ResNet20.Config):
        """Options of resnet32."""

        blocks: tuple[Annotated[int, Field(gt=0, le=500)], ...] = _blocks(5, 5, 5)


class ResNet110(ResNet20):
    """Three stages of 18 blocks from 16 channels on: 1.7 M parameters. ``block`` cuts it into 55 parts.

    References:
        He et al. 2016, section 4.2, https://arxiv.org/abs/1512.03385.
    """

    class Config(ResNet20.Config):
        """Options of resnet110."""

        blocks: tuple[Annotated[int, Field(gt=0, le=500)], ...] = _blocks(18, 18, 18)


class WideResNet(ResNet):
    """Three stages of few wide blocks, WRN-28-10 by default: 36.5 M parameters.

    The paper puts norm and activation in front of each convolution; here they stand behind it, for the reasons given
    for ``densenet_bc``. A shortcut that changes its shape is a 1 x 1 convolution, as in the paper, with a norm (ours).

    References:
        Zagoruyko & Komodakis 2016, Wide residual networks, https://arxiv.org/abs/1605.07146.
    """

    class Config(LayerOptions):
        """Options of wide_resnet."""

        depth: int = Field(
            28, le=1000, description="Convolutions, 6 n + 4: n blocks in each of three stages (the paper's: 28)."
        )
        widen: float = Field(
            10, gt=0, le=100, description="The stages have 16, 32 and 64 times this many channels (the paper's: 10)."
        )
        dropout: float = Field(
            0,
            ge=0,
            lt=1,
            description="Fraction dropped between the convolutions of a block (the paper's: 0; also 0.3).",
        )

        @field_validator("depth")
        @classmethod
        def _fits_three_stages(cls, depth: int) -> int:
            if depth < 10 or (depth - 4) % 6:
                raise ValueError("depth must be 6 n + 4, such as 10, 16, 28 or 40")
            return depth

    def __init__(self, config: WideResNet.Config, shape: tuple[int, ...], num_classes: int) -> None:
        Model.__init__(self, config, shape, num_classes)
        self.stem = conv_layer(shape[0], 16, 3, activation=config.activation, norm=config.norm)
        widths = [max(1, round(channels * config.widen)) for channels in (16, 32, 64)]
        blocks = [(config.depth - 4) // 6] * 3
        self._add_stages(16, widths, blocks, project=True, dropout=config.dropout)


class ResNet18(ResNet):
    """Four stages of two blocks from 64 channels on: 11.2 M parameters. On large images it is torchvision's.

    References:
        He et al. 2016, section 4.1, https://arxiv.org/abs/1512.03385.
    """

    class Config(ResNet.Config):
        """Options of resnet18."""

        blocks: tuple[Annotated[int, Field(gt=0, le=500)], ...] = _blocks(2, 2, 2, 2)
        width: int = _width(64)
        shortcut: Shortcut = Field(
            "project",
            description="How a block's input is brought to its output's shape: by a 1 x 1 convolution (the paper's), "
            "or padded with zeros.",
        )
        stem: Stem = Field(
            "auto",
            description="large: 7 x 7 with stride 2 and max-pooling (the paper's). small: 3 x 3. auto: large from 64 "
            "pixels on, small below (ours).",
        )
