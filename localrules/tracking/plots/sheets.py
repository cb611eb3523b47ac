"""Sheets of small images: what the first layer looks for, what layers see, and what the network took them for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from localrules.utils.plotting import INK, RIGHT, WRONG, bare_axes, new_figure, save_figure


def plot_filters(weight: Tensor, out: Path, *, limit: int = 64) -> Path:
    """Draw the filters of a first layer.

    Args:
        weight: Shape (filters, channels, height, width), or (units, inputs) of a fully connected layer with a square
            number of inputs.
        out: The PNG file.
        limit: Draw at most so many.

    Returns:
        ``out``.

    Raises:
        ValueError: The weight cannot be seen as images.
    """
    images = _filter_images(weight.detach().float().cpu())[:limit].numpy()
    columns = math.ceil(math.sqrt(len(images) * 1.6))
    rows = math.ceil(len(images) / columns)
    figure = new_figure(0.62 * columns, 0.62 * rows + 0.45)
    figure.suptitle(f"First-layer filters ({len(images)} of {len(weight)})", fontsize=10, fontweight="bold", color=INK)
    for axes, image in zip(figure.subplots(rows, columns, squeeze=False).flat, images, strict=False):
        # Each in its own range, with zero in the middle: the sign of a weight means something.
        axes.imshow(_normalize_range(image), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    for axes in figure.axes:
        bare_axes(axes)
    return save_figure(figure, out)


def plot_feature_maps(maps: Mapping[str, Tensor], out: Path, *, limit: int = 8) -> Path:
    """Draw what layers make of one image, a row a layer.

    Args:
        maps: For each layer, in order, its output for one image: shape (channels, height, width).
        out: The PNG file. It shows the data.
        limit: Draw at most so many channels of a layer: those that vary most over the image.

    Returns:
        ``out``.
    """
    figure = new_figure(0.95 * limit + 1.6, 0.98 * len(maps) + 0.4)
    grid = figure.subplots(len(maps), limit, squeeze=False)
    figure.suptitle("What the layers see: the channels that vary most", fontsize=10, fontweight="bold", color=INK)
    for row, (name, output) in zip(grid, maps.items(), strict=True):
        channels = output.detach().float().cpu().numpy()
        order = np.argsort(-channels.std(axis=(1, 2)))[:limit]
        for axes, channel in zip(row, channels[order], strict=False):
            axes.imshow(channel, cmap="magma", interpolation="nearest")
        height, width = channels.shape[1:]
        label = f"{name}\n{len(channels)} x {height} x {width}"
        row[0].set_ylabel(label, rotation=0, ha="right", va="center", fontsize=7.5, color=INK)
    for axes in figure.axes:
        bare_axes(axes)
    return save_figure(figure, out)


def plot_samples(
    images: Tensor, labels: Tensor, predictions: Tensor, classes: Sequence[str], out: Path, *, limit: int = 40
) -> Path:
    """Draw images with what they are and what they were taken for.

    Args:
        images: uint8 or float in 0..1, shape (samples, channels, height, width); one channel or three.
        labels: True classes, shape (samples,).
        predictions: Predicted classes, shape (samples,).
        classes: Label names.
        out: The PNG file. It shows the data.
        limit: Draw at most so many.

    Returns:
        ``out``.
    """
    image_batch = images[:limit].detach().float().cpu() / (255 if not images.is_floating_point() else 1)
    columns = min(10, len(image_batch))
    rows = math.ceil(len(image_batch) / columns)
    figure = new_figure(1.12 * columns, 1.34 * rows + 0.45)
    figure.suptitle("Predicted; where wrong, the truth in brackets", fontsize=10, fontweight="bold", color=INK)
    grid = figure.subplots(rows, columns, squeeze=False)
    for index, axes in enumerate(grid.flat):
        if index >= len(image_batch):
            bare_axes(axes)
            continue
        truth, taken = int(labels[index]), int(predictions[index])
        image = image_batch[index].permute(1, 2, 0).clamp(0, 1).numpy()
        axes.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
        title = classes[taken] if taken == truth else f"{classes[taken]}\n({classes[truth]})"
        bare_axes(axes, title, RIGHT if taken == truth else WRONG)
    return save_figure(figure, out)


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
