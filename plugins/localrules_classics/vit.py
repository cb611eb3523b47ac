"""Vision transformers: vit_tiny and vit_small."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from localrules import Model
from localrules.core.layer_spec import LayerSpec
from localrules.core.objective import RuleConfig
from localrules_classics.tokens import PATCH, Patch, Patches, TokenReadout, initialise_tokens, token_mlp


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self._heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, positions, width) to the same shape."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self._heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.dropout(self.project(mixed.transpose(1, 2).flatten(2)))


class TransformerBlock(nn.Module):
    """Layer norm and attention, layer norm and two linear operations on each token; each pair is added to its input."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads, dropout)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = token_mlp(width, hidden, dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, positions, width) to the same shape."""
        tokens = tokens + self.attention(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class ViT(Model):
    """Patches with learned positions, transformer blocks, a readout. Each block is a layer, and so are the patches.

    By default the readout reads the mean of the tokens, and there is no class token: every token then matters to the
    readout, as to an objective that pools them (Beyer, Zhai & Kolesnikov 2022, https://arxiv.org/abs/2205.01580).
    ``pool=class`` is the published form; with it and patches of 16, timm's network of the same name.

    References:
        Dosovitskiy et al. 2021, An image is worth 16x16 words, https://arxiv.org/abs/2010.11929; the sizes: Touvron
        et al. 2021, https://arxiv.org/abs/2012.12877.
    """

    class Config(RuleConfig):
        """Options of vision transformers."""

        patch: Patch = Field("auto", description=PATCH)
        width: int = Field(ge=1, description="Features of a token (the paper's).")
        depth: int = Field(12, ge=1, le=500, description="Transformer blocks (the paper's: 12).")
        heads: int = Field(ge=1, description="Heads of the attention, a divisor of the width (the paper's).")
        mlp_ratio: float = Field(
            4, gt=0, description="Hidden units of a block's second part, in widths (the paper's: 4)."
        )
        pool: Literal["mean", "class"] = Field(
            "mean", description="What the readout reads: the mean of the tokens (ours), or a class token (the paper's)."
        )
        dropout: float = Field(0, ge=0, lt=1, description="Fraction dropped behind linear operations (ours: none).")

        @model_validator(mode="after")
        def _heads_divide_width(self) -> ViT.Config:
            if self.width % self.heads:
                raise ValueError("heads must divide width")
            return self

    def __init__(self, config: ViT.Config, shape: tuple[int, ...], num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        width = config.width
        self.patches = Patches(shape, config.patch, width, positions=True, class_token=config.pool == "class")
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads, max(1, round(width * config.mlp_ratio)), config.dropout)
            for _ in range(config.depth)
        )
        self.readout = TokenReadout(width, num_classes, config.pool)
        initialise_tokens(self)
        names = ["patches", "blocks.*"]
        pool_size = {f"blocks.{config.depth - 1}": 1} if config.pool == "mean" else {}
        self.layer_spec = LayerSpec(layers=names, blocks=names, readout="readout", pool_size=pool_size)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits, (batch, classes)."""
        tokens = self.patches(images)
        for block in self.blocks:
            tokens = block(tokens)
        return self.readout(tokens)


class ViTTiny(ViT):
    """Twelve blocks of 192 features and three heads: 5.7 M parameters on images of 224 pixels.

    References:
        Touvron et al. 2021, Training data-efficient image transformers (DeiT-Ti), https://arxiv.org/abs/2012.12877.
    """

    class Config(ViT.Config):
        """Options of vit_tiny."""

        width: int = Field(192, ge=1, description="Features of a token (the paper's: 192).")
        heads: int = Field(3, ge=1, description="Heads of the attention, a divisor of the width (the paper's: 3).")


class ViTSmall(ViT):
    """Twelve blocks of 384 features and six heads: 22.1 M parameters on images of 224 pixels.

    References:
        Touvron et al. 2021, Training data-efficient image transformers (DeiT-S), https://arxiv.org/abs/2012.12877.
    """

    class Config(ViT.Config):
        """Options of vit_small."""

        width: int = Field(384, ge=1, description="Features of a token (the paper's: 384).")
        heads: int = Field(6, ge=1, description="Heads of the attention, a divisor of the width (the paper's: 6).")
