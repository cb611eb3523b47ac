"""Augmentation of a whole batch at once, on the device, each image with its own draw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, Self

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, model_validator

from localrules.data.batch_part import WHOLE, BatchPart
from localrules.data.rand_augment import rand_augment
from localrules.utils.torch_utils import upload

if TYPE_CHECKING:
    from torch import Tensor

# The columns of the matrix of uniform draws. Every column is always drawn, so that switching one augmentation on
# leaves the draws of the others as they were.
FLIP, DOWN, RIGHT, TURN, ZOOM, ERASE, ERASE_HEIGHT, ERASE_WIDTH, ERASE_TOP, ERASE_LEFT = range(10)
COLUMNS = 10


class AugmentConfig(BaseModel):
    """Augmentation of training images. The defaults are ours."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: bool | None = Field(
        None, description="Mirror half of the images left to right; unset: where the data set says it is harmless."
    )
    shift: int = Field(3, ge=0, description="Move by up to so many whole pixels, down or up, right or left.")
    padding: Literal["repeat", "reflect", "black"] = Field(
        "repeat",
        description="What shifted images show from beyond their border: its pixels again, the image reflected "
        "there, or black. With black, shift=4 is padding by 4 and cropping, as usual on CIFAR.",
    )
    crop_area: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Crop a random part and resize it back: its area is this fraction or more, its aspect 3:4 to 4:3. "
        "0.08 is usual on ImageNet; 1 crops nothing.",
    )
    rotation: float = Field(0.0, ge=0, le=180, description="Turn by up to so many degrees, either way.")
    scale: float = Field(0.0, ge=0, lt=1, description="Enlarge or shrink by up to this fraction (0.1: 0.9 to 1.1).")
    erase_size: float = Field(
        0.0, ge=0, le=1, description="Blank a rectangle in half of the images; its sides go up to this fraction."
    )
    cutout: int = Field(
        0,
        ge=0,
        le=4096,
        description="Blank a square of so many pixels a side, centred anywhere in the image (16 is usual on CIFAR-10).",
    )

    rand_augment: int = Field(
        0,
        ge=0,
        le=16,
        description="RandAugment by torchvision: so many operations, drawn for each image, before all else (2 is "
        "usual); 0: none.",
    )
    rand_magnitude: int = Field(9, ge=0, le=30, description="Strength of RandAugment's operations (torchvision's).")

    @model_validator(mode="after")
    def _padding_fits(self) -> Self:
        if self.padding != "repeat" and (self.rotation or self.scale):
            raise ValueError(f"padding={self.padding} goes with shifts alone, not with rotation or scale")
        return self


class Augment:
    """Applies an :class:`AugmentConfig`. Pixels from beyond the border repeat the border, unless it says otherwise.

    Args:
        config: What to do.
        flip_preserves_label: Whether a flipped image keeps its label (faces do, digits do not);
            decides an unset ``flip``.
    """

    def __init__(self, config: AugmentConfig, *, flip_preserves_label: bool = True) -> None:
        self.config = config
        self.flip = flip_preserves_label if config.flip is None else config.flip
        if config.rand_augment:
            self.rand_augment = rand_augment(config.rand_augment, config.rand_magnitude)

    def __call__(
        self,
        images: Tensor,
        generator: torch.Generator,
        *,
        black: tuple[float, ...] | None = None,
        part: BatchPart = WHOLE,
    ) -> Tensor:
        """Augment a batch.

        Args:
            images: Standardised images, float, shape (batch, channels, height, width).
            generator: A CPU generator; the draws are the same on every device.
            black: The value of a black pixel in each channel, for ``padding=black``; 0 if it is not given.
            part: Which part of the batch the images are; draws are made for the whole batch.

        Returns:
            New images of the same shape; the input may be overwritten.
        """
        draws = _draw(images, COLUMNS, generator, part)
        # What is drawn for crops and cutout comes from generators of their own, so that other draws stay as they were.
        seeds = torch.randint(2**62, (2,), generator=generator).tolist() if self._draws_more else [0, 0]
        if self.config.crop_area < 1:
            images = self._crop(images, _draw(images, 4, _seeded(seeds[0]), part))
        if self.config.rotation or self.config.scale:
            images = self._resample(images, draws)
        elif self.flip or self.config.shift:
            images = self._move(images, draws, black)
        if self.config.erase_size:
            images = self._erase(images, draws)
        if self.config.cutout:
            images = self._cut_out(images, _draw(images, 2, _seeded(seeds[1]), part))
        return images

    @property
    def _draws_more(self) -> bool:
        return bool(self.config.cutout) or self.config.crop_area < 1

    def _flip(self, draws: Tensor) -> Tensor:
        return (draws[:, FLIP] < 0.5) if self.flip else torch.zeros_like(draws[:, FLIP], dtype=torch.bool)

    def _offset(self, draws: Tensor, column: int) -> Tensor:
        """Whole pixels, uniform on -shift ... shift."""
        steps = 2 * self.config.shift + 1
        return (draws[:, column] * steps).long().clamp_(max=steps - 1) - self.config.shift

    def _crop(self, images: Tensor, draws: Tensor) -> Tensor:
        """Resize a random part of each image to the whole, bilinearly.

        Source: Szegedy et al. 2015, Going deeper with convolutions, https://arxiv.org/abs/1409.4842. A part of the area
        A that may be as wide as the image has an aspect of A to 1 / A (torchvision draws one that does not fit anew).
        """
        area = self.config.crop_area + draws[:, 0] * (1 - self.config.crop_area)
        aspect = torch.exp((2 * draws[:, 1] - 1) * (-area.log()).clamp(max=math.log(4 / 3)))
        width, height = (area * aspect).sqrt(), (area / aspect).sqrt()
        # The grid runs from -1 to 1: the centre of the part, from where it may stand without leaving the image.
        right, down = (2 * draws[:, 2] - 1) * (1 - width), (2 * draws[:, 3] - 1) * (1 - height)
        nothing = torch.zeros_like(width)
        rows = [torch.stack([width, nothing, right], dim=1), torch.stack([nothing, height, down], dim=1)]
        grid = F.affine_grid(torch.stack(rows, dim=1).to(images.dtype), list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _move(self, images: Tensor, draws: Tensor, black: tuple[float, ...] | None) -> Tensor:
        """Flip and whole-pixel shift: every output pixel is a copy of one input pixel, so nothing is interpolated."""
        batch, channels, height, width = images.shape
        rows = torch.arange(height, device=images.device) - self._offset(draws, DOWN)[:, None]
        columns = torch.arange(width, device=images.device) - self._offset(draws, RIGHT)[:, None]
        outside = ((rows < 0) | (rows >= height))[:, :, None] | ((columns < 0) | (columns >= width))[:, None, :]
        rows, columns = self._inside(rows, height), self._inside(columns, width)
        columns = torch.where(self._flip(draws)[:, None], width - 1 - columns, columns)
        source = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, -1).expand(-1, channels, -1)
        moved = images.flatten(2).gather(2, source).view_as(images)
        if self.config.padding != "black" or not self.config.shift:
            return moved
        shade = upload(torch.tensor(black or [0.0], dtype=moved.dtype), moved.device)
        return torch.where(outside[:, None], shade[:, None, None], moved)

    def _inside(self, places: Tensor, size: int) -> Tensor:
        """Places along one side, those from beyond the border moved to where their pixels are taken from."""
        if self.config.padding == "reflect":  # at the outermost pixels, which are not repeated, as numpy and torch pad
            places = (size - 1) - ((size - 1) - places.abs()).abs()
        return places.clamp(0, size - 1)

    def _resample(self, images: Tensor, draws: Tensor) -> Tensor:
        """Flip, then turn and scale about the centre, then shift, in one bilinear resampling."""
        height, width = images.shape[2:]
        angle = (2 * draws[:, TURN] - 1) * math.radians(self.config.rotation)
        zoom = 1 + (2 * draws[:, ZOOM] - 1) * self.config.scale
        # grid_sample asks, for each output pixel, where it comes from: the inverse of what is done to the image.
        cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
        sign = 1 - 2 * self._flip(draws).to(images.dtype)
        down, right = self._offset(draws, DOWN) * 2 / height, self._offset(draws, RIGHT) * 2 / width
        aspect = height / width
        # The grid runs from -1 to 1 along either side: a turn by an angle in pixels needs the ratio of the sides.
        x_row = torch.stack([cos, -sin * aspect, -cos * right + sin * aspect * down], dim=1) * sign[:, None]
        y_row = torch.stack([sin / aspect, cos, -sin / aspect * right - cos * down], dim=1)
        theta = torch.stack([x_row, y_row], dim=1).to(images.dtype)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)

    def _erase(self, images: Tensor, draws: Tensor) -> Tensor:
        """Set a rectangle to 0, by default the mean of the training pixels.

        Source: Zhong et al. 2020, Random Erasing Data Augmentation, https://arxiv.org/abs/1708.04896 (with one
        colour, and sides drawn uniformly instead of area and aspect).
        """
        inside = _span(images.shape[2], draws[:, ERASE_HEIGHT] * self.config.erase_size, draws[:, ERASE_TOP])[
            :, :, None
        ]
        inside = (
            inside
            & _span(images.shape[3], draws[:, ERASE_WIDTH] * self.config.erase_size, draws[:, ERASE_LEFT])[:, None]
        )
        inside &= (draws[:, ERASE] < 0.5)[:, None, None]
        return images.masked_fill(inside[:, None], 0.0)

    def _cut_out(self, images: Tensor, draws: Tensor) -> Tensor:
        """Set a square to 0, by default the mean of the training pixels; at the border a part of it.

        Source: DeVries & Taylor 2017, Improved Regularization of Convolutional Neural Networks with Cutout,
        https://arxiv.org/abs/1708.04552.
        """
        inside = [_around(size, self.config.cutout, draws[:, at]) for at, size in enumerate(images.shape[2:])]
        return images.masked_fill((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0.0)


def _draw(images: Tensor, columns: int, generator: torch.Generator, part: BatchPart) -> Tensor:
    """Uniform draws for these images, (batch, columns)."""
    draws = torch.rand(part.count * images.shape[0], columns, generator=generator)
    return upload(part.take(draws), images.device)


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _around(size: int, length: int, place: Tensor) -> Tensor:
    """A mask (batch, size) of one run of pixels around a centre inside, cut off at the border."""
    start = (place * size).long().clamp_(max=size - 1) - length // 2
    index = torch.arange(size, device=place.device)
    return (index >= start[:, None]) & (index < start[:, None] + length)


def _span(size: int, fraction: Tensor, place: Tensor) -> Tensor:
    """A mask (batch, size) of one run of pixels: ``fraction`` of the side long, wholly inside."""
    length = (fraction * size).round().long()
    start = (place * (size - length + 1)).long().clamp_(max=size - 1)
    index = torch.arange(size, device=fraction.device)
    return (index >= start[:, None]) & (index < (start + length)[:, None])
