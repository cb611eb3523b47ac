"""Small grey images for networks that expect large ones in colour."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional

from localrules.errors import UsageError

Size = Literal["native", "as-is"] | PositiveInt
COLOURS = 3


def described(native: int, least: int) -> str:
    """The description of an option ``size``."""
    return (
        f"Side to which images are brought inside the network, bilinearly: native, {native} as published (the "
        f"paper's); a number; or as-is, their own, up-sampled to {least} if smaller (ours)."
    )


def side_of(size: Size, shape: tuple[int, ...], native: int, least: int) -> tuple[int, int] | None:
    """The height and width that the network reads; ``None`` where images stay as they are.

    Args:
        size: The option.
        shape: One image's channels, height, width.
        native: The published side.
        least: The smallest that the network can read.
    """
    if size == "native":
        return native, native
    if size == "as-is":
        height, width = shape[1:]
        found = max(height, least), max(width, least)
        return None if found == (height, width) else found
    return max(size, least), max(size, least)


def to_rgb_channels(model: str, shape: tuple[int, ...]) -> int:
    """The channels that the network reads: three, so that it is the published one.

    Raises:
        UsageError: The images are neither grey nor in colour.
    """
    if shape[0] not in (1, COLOURS):
        raise UsageError(
            f"{model} takes grey images and images in colour",
            where=f"images with {shape[0]} channels",
            why="its first convolution reads red, green and blue; a grey image is repeated to the three",
            fix="choose a model that takes any number of channels: resnet18 or vgg8b",
        )
    return COLOURS


def sized(images: Tensor, side: tuple[int, int] | None) -> Tensor:
    """Images of the size and with the channels that the network reads: grey is repeated.

    Args:
        images: (batch, 1 or 3, height, width).
        side: From :func:`side_of`.
    """
    if side is not None:
        images = functional.interpolate(images, size=side, mode="bilinear", align_corners=False)
    return images.expand(-1, COLOURS, -1, -1)
