"""Parts that networks of tokens share: patches, and the readout of normalised tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional

Patch = PositiveInt | Literal["auto"]
PATCH = (
    "Side of the square patches that become tokens, in pixels: a number (the paper's: 16), or auto: 4 for images of up "
    "to 64 pixels, 16 for larger ones (ours). Images are padded with zeros to whole patches."
)
LARGE = 64  # pixels of a side, up to which auto patches are small


class Patches(nn.Module):
    """A linear map of each patch of the image, and learned positions: the first layer.

    Args:
        shape: One image's channels, height, width.
        patch: The option.
        width: Features of a token.
        positions: Whether learned positions are added.
        class_token: Whether a learned token stands in front of the others.

    Attributes:
        tokens: Number of tokens that it gives.
    """

    def __init__(
        self, shape: tuple[int, ...], patch: Patch, width: int, *, positions: bool, class_token: bool = False
    ) -> None:
        super().__init__()
        side = (4 if max(shape[1:]) <= LARGE else 16) if patch == "auto" else patch
        rows, columns = (math.ceil(length / side) for length in shape[1:])
        self._padding = (0, columns * side - shape[2], 0, rows * side - shape[1])
        self.tokens = rows * columns + class_token
        self.conv = nn.Conv2d(shape[0], width, side, side)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width)) if class_token else None
        self.positions = nn.Parameter(torch.zeros(1, self.tokens, width)) if positions else None
        for parameter in (self.class_token, self.positions):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """(batch, channels, height, width) to tokens, (batch, positions, width)."""
        tokens = self.conv(functional.pad(images, self._padding)).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], 1)
        return tokens if self.positions is None else tokens + self.positions


class TokenReadout(nn.Module):
    """Layer norm, the mean of the tokens or the first of them, a linear classifier."""

    def __init__(self, width: int, classes: int, pool: Literal["mean", "class"] = "mean") -> None:
        super().__init__()
        self._pool = pool
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.classifier = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, positions, width) to logits, (batch, classes)."""
        tokens = self.norm(tokens)
        return self.classifier(tokens.mean(1) if self._pool == "mean" else tokens[:, 0])


def token_mlp(width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Two linear operations with GELU between them, over the last dimension."""
    dropped = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), *dropped, nn.Linear(hidden, width), *dropped)


def initialise_tokens(model: nn.Module) -> None:
    """Linear operations truncated normal with std 0.02, without biases: as timm draws those of vision transformers."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            nn.init.zeros_(module.bias)
