"""MLP-Mixer: linear operations over positions and over features in turn."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig
from localrules_classics.tokens import PATCH, Patch, Patches, TokenReadout, initialise_tokens, token_mlp


class MixerBlock(nn.Module):
    """Layer norm and an MLP over the positions, layer norm and an MLP over the features, each added to its input."""

    def __init__(self, tokens: int, width: int, token_hidden: int, channel_hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.mix_tokens = token_mlp(tokens, token_hidden, dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mix_channels = token_mlp(width, channel_hidden, dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, positions, width) to the same shape."""
        tokens = tokens + self.mix_tokens(self.norm1(tokens).transpose(1, 2)).transpose(1, 2)
        return tokens + self.mix_channels(self.norm2(tokens))


class MLPMixer(Model):
    """Patches, mixer blocks, the mean of the tokens, a classifier: Mixer-S by default. Each block is a layer.

    References:
        Tolstikhin et al. 2021, MLP-Mixer: an all-MLP architecture for vision, https://arxiv.org/abs/2105.01601.
    """

    class Config(RuleConfig):
        """Options of mlp_mixer."""

        patch: Patch = Field("auto", description=PATCH)
        width: int = Field(512, ge=1, description="Features of a token (the paper's: 512).")
        depth: int = Field(8, ge=1, le=500, description="Blocks (the paper's: 8).")
        token_hidden: int = Field(256, ge=1, description="Hidden units over the positions (the paper's: 256).")
        channel_hidden: int = Field(2048, ge=1, description="Hidden units over the features (the paper's: 2048).")
        dropout: float = Field(0, ge=0, lt=1, description="Fraction dropped behind linear operations (ours: none).")

    def __init__(self, config: MLPMixer.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        self.patches = Patches(shape, config.patch, config.width, positions=False)
        self.blocks = nn.ModuleList(
            MixerBlock(self.patches.tokens, config.width, config.token_hidden, config.channel_hidden, config.dropout)
            for _ in range(config.depth)
        )
        self.readout = TokenReadout(config.width, num_classes)
        initialise_tokens(self)
        names = ["patches", "blocks.*"]
        last = f"blocks.{config.depth - 1}"
        self.layer_spec = LayerSpec(layers=names, blocks=names, readout="readout", pool_size={last: 1})

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        tokens = self.patches(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.readout(tokens)
