"""Labels written into pictures, for networks that are told the label with the picture."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def in_pixels(images: Tensor, labels: Tensor, num_classes: int, strength: float) -> Tensor:
    """The first ``num_classes`` pixels replaced by the label's one-hot code, ``strength`` high.

    Args:
        images: Shape (batch, ...).
        labels: int64, shape (batch,).
        num_classes: At most the number of values in a picture.
        strength: In the units of the pictures, which are standardised.
    """
    flat = images.flatten(1).clone()
    flat[:, :num_classes] = strength * torch.nn.functional.one_hot(labels, num_classes).to(flat)
    return flat.view(images.shape)


def as_waves(images: Tensor, labels: Tensor, num_classes: int, strength: float, wavelength: float) -> Tensor:
    """The picture with a plane wave over it that tells the label at every position: classes differ in its direction.

    Args:
        images: Shape (batch, channels, height, width).
        labels: int64, shape (batch,).
        num_classes: Directions are spread evenly over half a turn.
        strength: The wave's height, in the units of the pictures, which are standardised.
        wavelength: In pixels.
    """
    height, width = images.shape[2:]
    angles = torch.arange(num_classes, device=images.device) * (math.pi / num_classes)
    rows = torch.arange(height, device=images.device)[:, None]
    columns = torch.arange(width, device=images.device)
    along = columns * angles.cos()[:, None, None] + rows * angles.sin()[:, None, None]
    waves = (strength * (2 * math.pi / wavelength * along).cos()).to(images)
    return images + waves[labels, None]
