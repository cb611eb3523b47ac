"""From an image of any size to what a network takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from localrules.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

_MODES = {1: "L", 3: "RGB"}


def fit_to_shape(image: Image.Image, shape: tuple[int, ...]) -> Tensor:
    """Make an image fit a network, and change nothing in one that fits.

    Colour becomes grey by ITU-R 601 luma, or grey becomes colour; the middle is cut out in the aspect of the network's
    images; and that is resized bilinearly, averaging over all pixels that fall into one where it shrinks.

    Args:
        image: Of mode ``L`` or ``RGB``.
        shape: Channels, height and width.

    Returns:
        uint8, of that shape.

    Raises:
        UsageError: The network takes images of a number of channels that no image file has.
    """
    channels, height, width = shape
    if channels not in _MODES:
        raise UsageError(
            "this run takes no image files",
            why=f"it was trained on images of {channels} channels; files have 1 or 3",
            fix="score it with localrules eval",
        )
    fitting = crop(image.convert(_MODES[channels]), width / height)
    if fitting.size != (width, height):
        fitting = fitting.resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(fitting))
    return pixels.reshape(height, width, channels).permute(2, 0, 1).contiguous()


def crop(image: Image.Image, aspect: float) -> Image.Image:
    """The largest part around the middle whose width is ``aspect`` times its height."""
    width, height = image.size
    wide, high = (min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect))))
    left, top = (width - wide) // 2, (height - high) // 2
    return image.crop((left, top, left + wide, top + high))
