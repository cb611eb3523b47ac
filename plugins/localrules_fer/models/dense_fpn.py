"""The paper's network: dense blocks, a feature pyramid over them, channel attention, softmax."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig
from localrules_fer.models.dense_layers import Activation, DenseBlock, WeightedConv
from localrules_fer.models.readout import AttentionReadout


class DenseFPN(Model):
    """Densely connected CNN with feature pyramid and attention (Han et al. 2023, Figures 4 and 5), 7 M parameters.

    A stem halves the image; dense blocks of five convolutions follow, joined by down-sampling convolutions;
    1 x 1 laterals read each block's output; the readout merges them top-down, averages, weighs channels, classifies.
    Growth and width double with every down-sampling up to the third block.

    Source: https://doi.org/10.12677/sea.2023.122019; a kin is Yang et al. 2021, IEEE Sensors Journal 21(10).
    """

    class Config(RuleConfig):
        """Options of dense_fpn."""

        blocks: int = Field(
            3, ge=1, le=8, description="Dense blocks, each at half the size of the one before (paper: 3)."
        )
        convolutions: int = Field(5, ge=1, le=100, description="Convolutions in a dense block (paper: 5).")
        growth: int = Field(40, ge=1, description="Channels that each convolution of the first block adds (ours).")
        stem: int = Field(64, ge=1, description="Channels of the stem (ours).")
        lateral: int = Field(128, ge=4, description="Channels of each pyramid level (ours).")
        activation: Activation = Field("relu", description="relu, tanh or elu (paper: relu).")
        grid: int = Field(1, ge=1, description="Grid over which the pyramid is averaged (paper: 1, global).")
        hidden: int = Field(0, ge=0, description="Units of a hidden layer in the classifier (paper: 0, none).")

    def __init__(self, config: DenseFPN.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        activation = config.activation
        self.stem = WeightedConv([shape[0]], config.stem, 3, stride=2, activation=activation)
        self.blocks, self.downs, self.laterals = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        channels, sources = config.stem, [config.stem]
        for index in range(config.blocks):
            scale = 2 ** min(index, 2)
            if index:
                down = WeightedConv(sources, config.stem * scale, 3, stride=2, activation=activation)
                self.downs.append(down)
                channels = config.stem * scale
            block = DenseBlock(channels, config.growth * scale, config.convolutions, activation)
            sources = block.sources
            self.blocks.append(block)
            self.laterals.append(WeightedConv(sources, config.lateral, 1, activation=activation))
        self.readout = AttentionReadout(config.blocks, config.lateral, num_classes, config.grid, config.hidden)
        self.layer_spec = LayerSpec(
            layers=["stem", "blocks.*.convs.*", *(["downs.*"] if self.downs else []), "laterals.*"],
            blocks=[
                (f"downs.{index - 1}" if index else "stem", f"blocks.{index}", f"laterals.{index}")
                for index in range(config.blocks)
            ],
            readout="readout",
            pool_size={"laterals.*": config.grid},
        )

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        return self.readout(self.levels(images))

    def levels(self, images: Tensor) -> list[Tensor]:
        """The pyramid's maps, fine to coarse, as the laterals give them."""
        levels = []
        maps = self.stem(images)
        for index, (block, lateral) in enumerate(zip(self.blocks, self.laterals, strict=True)):
            if index:
                maps = self.downs[index - 1](maps)
            maps = block(maps)
            levels.append(lateral(maps))
        return levels


class DenseFPNSmall(DenseFPN):
    """dense_fpn at about half a million parameters, for a CPU."""

    class Config(DenseFPN.Config):
        """Options of dense_fpn_small."""

        growth: int = Field(11, ge=1, description="Channels that each convolution of the first block adds (ours).")
        stem: int = Field(16, ge=1, description="Channels of the stem (ours).")
        lateral: int = Field(48, ge=4, description="Channels of each pyramid level (ours).")
        grid: int = Field(
            4,
            ge=1,
            description="Grid over which the pyramid is averaged (ours: knowing where helps a small network).",
        )
