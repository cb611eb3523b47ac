"""From bytes to numbers: by default of mean 0 and std 1 over the training images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator

from localrules.data.dataset import image_chunks
from localrules.errors import UsageError
from localrules.utils.torch_utils import upload

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.data.dataset import Split


Positive = Annotated[float, Field(gt=0)]


class NormalizeConfig(BaseModel):
    """Constants of a normalisation, ``(pixel / 255 - mean) / std``, in place of the training images' own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    mean: tuple[float, ...] = Field(
        min_length=1,
        description="Mean of each channel, of pixels from 0 to 1, or one number for all channels; the "
        "training images' if unset.",
    )
    std: tuple[Positive, ...] = Field(
        min_length=1, description="Std of each channel, likewise; with a mean of 0.5, 0.5 gives pixels from -1 to 1."
    )

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _accept_one_number(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int | float) else value


@dataclass(frozen=True)
class Normalize:
    """``(pixel / 255 - mean) / std``, one pair of constants a channel.

    The same constants are applied to every split, so they belong to a run and are kept with it.

    Attributes:
        mean: Of ``pixel / 255``, for each channel.
        std: For each channel; those of a split are the population's, and at least 1/255.
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

    @classmethod
    def from_config(cls, config: NormalizeConfig | None, split: Split) -> Normalize:
        """The constants that were chosen, or else those of the training split.

        Args:
            config: The choice; ``None`` for those of the split.
            split: The training split.

        Raises:
            UsageError: The number of constants is neither 1 nor the number of channels.
        """
        if config is None:
            return cls.from_split(split)
        channels = split.images.shape[1]
        constants = []
        for name, values in (("mean", config.mean), ("std", config.std)):
            if len(values) not in (1, channels):
                raise UsageError(
                    f"normalize.{name} does not fit the images",
                    where=f"--set normalize.{name}=[{', '.join(f'{value:g}' for value in values)}]",
                    why=f"it has {len(values)} numbers, and the images have {channels} "
                    f"{'channel' if channels == 1 else 'channels'}",
                    fix="give one number, for all channels" + ("" if channels == 1 else f", or {channels}"),
                )
            constants.append(values * (channels // len(values)))
        return cls(*constants)

    @property
    def black(self) -> tuple[float, ...]:
        """The value of a black pixel after normalisation, for each channel."""
        return tuple(-mean / std for mean, std in zip(self.mean, self.std, strict=True))

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise.

        Args:
            images: uint8, shape (batch, channels, height, width).

        Returns:
            float32, same shape and device.
        """
        scales = [1 / (255 * d) for d in self.std]
        shifts = [-m / d for m, d in zip(self.mean, self.std, strict=True)]
        scale, shift = upload(torch.tensor([scales, shifts], dtype=torch.float32), images.device)[..., None, None]
        return torch.addcmul(shift, images.float(), scale)
