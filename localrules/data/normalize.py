"""From bytes to numbers of mean 0 and std 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from localrules.data.dataset import image_chunks
from localrules.utils.torch_utils import upload

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.data.dataset import Split


@dataclass(frozen=True)
class Normalize:
    """``(pixel / 255 - mean) / std``, one pair of constants a channel.

    The rule is fixed: the constants are those of all pixels of the training split, whatever split they are applied
    to, so they belong to a run and are kept with it.

    Attributes:
        mean: Of ``pixel / 255``, for each channel.
        std: The population's standard deviation, for each channel; at least 1/255.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def from_split(cls, split: Split) -> Normalize:
        """The constants of a split, computed from integer sums: exact, and equal under any number of threads."""
        channels = split.images.shape[1]
        pixels = torch.zeros(channels, 256, dtype=torch.int64)  # with each value: faster to count than to sum
        for chunk in image_chunks(split.images):
            for channel, counts in enumerate(pixels):
                counts += torch.bincount(chunk[:, channel].flatten(), minlength=256).cpu()
        values = torch.arange(256)
        total, squares = (pixels * values).sum(1), (pixels * values**2).sum(1)
        count = split.images.numel() // channels
        means = [value / count for value in total.tolist()]
        variances = [value / count - mean * mean for value, mean in zip(squares.tolist(), means, strict=True)]
        return cls(
            mean=tuple(mean / 255 for mean in means),
            std=tuple(max(variance, 1.0) ** 0.5 / 255 for variance in variances),
        )

    @property
    def black(self) -> tuple[float, ...]:
        """The value of a black pixel after standardisation, for each channel."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def __call__(self, images: Tensor) -> Tensor:
        """Standardise.

        Args:
            images: uint8, shape (batch, channels, height, width).

        Returns:
            float32, same shape and device.
        """
        scales = [1 / (255 * d) for d in self.std]
        shifts = [-m / d for m, d in zip(self.mean, self.std, strict=True)]
        scale, shift = upload(torch.tensor([scales, shifts], dtype=torch.float32), images.device)[..., None, None]
        return torch.addcmul(shift, images.float(), scale)
