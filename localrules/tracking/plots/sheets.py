"""Sheets of small images: what the first layer looks for, what layers see, and what the network took them for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from localrules.utils.palette import INK, RIGHT, WRONG
from localrules.utils.plotting import bare_axes, new_figure, save_figure
from localrules.utils.text import printable


def plot_filters(weight: Tensor, out: Path, *, limit: int = 64, of: str = "") -> Path:
    """Draw the filters of a first layer.

    Args:
        weight: Shape (filters, channels, height, width), or (units, inputs) of a fully connected layer with a square
            number of inputs.
        out: The PNG file.
        limit: Draw at most so many.
        of: Rule, model, data and seed, in small print.

    Returns:
        ``out``.

    Raises:
        ValueError: The weight cannot be seen as images.
    """
    images = _filter_images(weight.detach().float().cpu())[:limit].numpy()
    columns = math.ceil(math.sqrt(len(images) * 1.6))
    rows = math.ceil(len(images) / columns)
    sheet = _Sheet(f"First-layer filters ({len(images)} of {len(weight)})", rows, columns, cell=(0.62, 0.62))
    for index, image in enumerate(images):
        # Each in its own range, with zero in the middle: the sign of a weight means something.
        sheet.add(divmod(index, columns), _normalize_range(image), cmap="RdBu_r", vmin=-1, vmax=1)
    return save_figure(sheet.figure, out, of=of)


def plot_feature_maps(maps: Mapping[str, Tensor], out: Path, *, limit: int = 8, of: str = "") -> Path:
    """Draw what layers make of one image, a row a layer.

    Args:
        maps: For each layer, in order, its output for one image: shape (channels, height, width).
        out: The PNG file. It shows the data.
        limit: Draw at most so many channels of a layer: those that vary most over the image.
        of: Rule, model, data and seed, in small print.

    Returns:
        ``out``.
    """
    title = "What the layers see: the channels that vary most"
    sheet = _Sheet(title, len(maps), limit, cell=(0.98, 0.98), left=1.6)
    for row, (name, output) in enumerate(maps.items()):
        channels = output.detach().float().cpu().numpy()
        order = np.argsort(-channels.std(axis=(1, 2)))[:limit]
        for column, channel in enumerate(channels[order]):
            sheet.add((row, column), channel, cmap="magma")
        height, width = channels.shape[1:]
        sheet.name_row(row, f"{name}\n{len(channels)} x {height} x {width}")
    return save_figure(sheet.figure, out, of=of)


def plot_samples(
    images: Tensor,
    labels: Tensor,
    predictions: Tensor,
    classes: Sequence[str],
    out: Path,
    *,
    limit: int = 40,
    of: str = "",
) -> Path:
    """Draw images with what they are and what they were taken for.

    Args:
        images: uint8 or float in 0..1, shape (samples, channels, height, width); one channel or three.
        labels: True classes, shape (samples,).
        predictions: Predicted classes, shape (samples,).
        classes: Label names.
        out: The PNG file. It shows the data.
        limit: Draw at most so many.
        of: Rule, model, data and seed, in small print.

    Returns:
        ``out``.
    """
    image_batch = images[:limit].detach().float().cpu() / (255 if not images.is_floating_point() else 1)
    columns = min(10, len(image_batch))
    rows = math.ceil(len(image_batch) / columns)
    title = "Predicted; where wrong, the truth in brackets"
    sheet = _Sheet(title, rows, columns, cell=(1.12, 1.34), heading=0.3)
    for index, image in enumerate(image_batch.permute(0, 2, 3, 1).clamp(0, 1).numpy()):
        truth, taken = int(labels[index]), int(predictions[index])
        text = classes[taken] if taken == truth else f"{classes[taken]}\n({classes[truth]})"
        pixels = image.squeeze(-1) if image.shape[-1] == 1 else image
        sheet.add(divmod(index, columns), pixels, text, RIGHT if taken == truth else WRONG, cmap="gray", vmin=0, vmax=1)
    return save_figure(sheet.figure, out, of=of)


class _Sheet:
    """Images in rows and columns on one pair of axes, which draws several times faster than a pair for each.

    Args:
        title: Above all images.
        rows, columns: The grid.
        cell: Width and height of a cell in inches.
        heading: Inches of a cell's height that are left for text above its image.
        left: Inches at the left for the rows' names.
    """

    _TOP, _BOTTOM, _GAP, _NARROWEST = 0.4, 0.24, 0.06, 4.4  # inches; the title and the small print have to fit

    def __init__(
        self, title: str, rows: int, columns: int, *, cell: tuple[float, float], heading: float = 0, left: float = 0
    ) -> None:
        self._cell, self._heading = cell, heading
        width, height = cell[0] * columns, cell[1] * rows
        whole, tall = max(left + width, self._NARROWEST), self._TOP + height + self._BOTTOM
        self.figure = new_figure(whole, tall, layout=None)
        self.figure.suptitle(title, fontsize=10, fontweight="bold", color=INK, y=1 - 0.08 / tall, va="top")
        place = (left / whole, self._BOTTOM / tall, width / whole, height / tall)
        self._axes = self.figure.add_axes(place, xlim=(0, width), ylim=(height, 0))
        bare_axes(self._axes)
        self._axes.set_autoscale_on(False)

    def add(
        self, place: tuple[int, int], pixels: np.ndarray, text: str = "", colour: str = INK, **options: Any
    ) -> None:
        """Draw an image, as large as it fits, in the cell at (row, column), with a text above it."""
        width, height = self._cell[0] - self._GAP, self._cell[1] - self._heading - self._GAP
        inches = min(width / pixels.shape[1], height / pixels.shape[0])  # a pixel's side
        right, down = pixels.shape[1] * inches / 2, pixels.shape[0] * inches / 2
        x = (place[1] + 0.5) * self._cell[0]
        y = place[0] * self._cell[1] + self._heading + (self._cell[1] - self._heading) / 2
        extent = (x - right, x + right, y + down, y - down)
        self._axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", **options)
        if text:
            above = self._axes.text(
                x, y - down - 0.03, printable(text), fontsize=7.5, color=colour, linespacing=1.0, parse_math=False
            )
            above.set(ha="center", va="bottom")

    def name_row(self, row: int, text: str) -> None:
        """Write a row's name at its left."""
        y = (row + 0.5) * self._cell[1]
        self._axes.text(-0.08, y, printable(text), ha="right", va="center", fontsize=7.5, color=INK, parse_math=False)


def _filter_images(weight: Tensor) -> Tensor:
    if weight.dim() == 2:
        side = math.isqrt(weight.shape[1])
        if side * side != weight.shape[1]:
            raise ValueError(f"{weight.shape[1]} inputs are not a square image")
        return weight.reshape(-1, side, side)
    if weight.dim() != 4:
        raise ValueError(f"a weight of shape {tuple(weight.shape)} cannot be seen as images")
    return weight.mean(dim=1)


def _normalize_range(image: np.ndarray) -> np.ndarray:
    return image / max(float(np.abs(image).max()), 1e-12)
