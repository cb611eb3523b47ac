"""Conversion of uint8 images into a network's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from localrules.data.normalize import Normalize, NormalizeConfig

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.data.dataset import Split


@dataclass(frozen=True)
class Preprocessor:
    """Normalisation, device and memory format: the same for training, evaluation and prediction.

    Attributes:
        normalize: The constants, of the training split or chosen.
        channels_last: Whether images are kept in the channels-last memory format.
        device: Where images are processed.
    """

    normalize: Normalize
    channels_last: bool = False
    device: torch.device | str = "cpu"

    @classmethod
    def from_split(
        cls,
        split: Split,
        *,
        normalize: NormalizeConfig | None = None,
        channels_last: bool = False,
        device: torch.device | str = "cpu",
    ) -> Preprocessor:
        """With the constants of a training split, or with chosen ones.

        Raises:
            UsageError: The chosen constants do not fit the images.
        """
        return cls(Normalize.from_config(normalize, split), channels_last, device)

    def __call__(self, images: Tensor) -> Tensor:
        """Preprocess images that are not augmented.

        Args:
            images: uint8, shape (batch, channels, height, width).

        Returns:
            float32, same shape, on the device and in the memory format of the run.
        """
        return self.to_memory_format(self.normalize(images.to(self.device)))

    def to_memory_format(self, images: Tensor) -> Tensor:
        """Normalised images in the run's memory format; not copied where they are in it."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images
