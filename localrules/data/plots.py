"""Plots of a data set: its label counts, and samples of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from localrules.data.dataset import SPLITS
from localrules.utils.palette import COLOURS, GRID, INK, MUTED
from localrules.utils.plotting import new_figure, save_figure

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from localrules.data.dataset import Dataset, Split

_SPLIT_COLOURS = dict(zip(SPLITS, COLOURS, strict=False))
SAMPLE_COLUMNS = 12
GAP = 2  # pixels between samples
ZOOM = 2
SHOWN_SIDE, SHOWN_CLASSES, COUNTED_CLASSES = 64, 40, 200  # what a sheet or a plot has at most


def plot_label_counts(data: Dataset, path: Path) -> None:
    """A bar for each class and split: its fraction of the split, with the count beside it.

    Args:
        data: The data set.
        path: The PNG file.
    """
    present = [name for name in SPLITS if name in data.splits]
    shown = _some(len(data.classes), COUNTED_CLASSES)
    figure = new_figure(8.0, 1.3 + 0.24 * len(shown) * (len(present) + 0.7))
    axes = figure.add_subplot()
    height = 0.82 / len(present)
    for place, name in enumerate(present):
        labels = data.splits[name].labels
        counts = torch.bincount(labels, minlength=len(data.classes))[shown]
        percentages = (100 * counts / len(labels)).tolist()
        middle = [row + (place - (len(present) - 1) / 2) * height for row in range(len(shown))]
        bars = axes.barh(
            middle, percentages, height * 0.9, color=_SPLIT_COLOURS[name], label=f"{name}, {len(labels):,} samples"
        )
        axes.bar_label(bars, [f"{count:,}" for count in counts.tolist()], padding=4, fontsize=8, color=INK)
    axes.set_yticks(range(len(shown)), [data.classes[label] for label in shown], parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.02)
    axes.set_xlabel("fraction of the split, %", color=MUTED)
    axes.tick_params(length=0, colors=INK)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axes.grid(axis="x", color=GRID, zorder=0)
    axes.set_axisbelow(True)
    axes.set_title(
        f"{data.name}: labels{_of_classes(len(shown), data)}",
        loc="left",
        color=INK,
        fontweight="bold",
        pad=30,
        parse_math=False,
    )
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(-0.01, 1.0), labelcolor=INK, borderpad=0.2)
    save_figure(figure, path)


def plot_samples(data: Dataset, path: Path) -> None:
    """A row of images for each class, drawn at random with a fixed seed, from the first split.

    Of many classes some are shown, at even distances; large images are made smaller; images of other than one or three
    channels are shown as the mean of these.

    Args:
        data: The data set.
        path: The PNG file.
    """
    name = next(name for name in SPLITS if name in data.splits)
    shown = _some(len(data.classes), SHOWN_CLASSES)
    sheet = np.stack([_class_samples(data.splits[name], label) for label in shown])
    classes, rows, columns = sheet.shape[:3]
    inches = ZOOM * np.array([columns, classes * rows]) / 100
    figure = new_figure(inches[0] + 1.4, inches[1] + 0.7)
    axes = figure.add_subplot()
    axes.imshow(sheet.reshape(classes * rows, columns, -1).squeeze(), cmap="gray", vmin=0, vmax=255, aspect="equal")
    axes.set_yticks(
        [rows * (label + 0.5) for label in range(classes)], [data.classes[label] for label in shown], parse_math=False
    )
    axes.set_xticks([])
    axes.tick_params(length=0, colors=INK)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axes.set_title(
        f"{data.name}: images of the {name} split{_of_classes(len(shown), data)}",
        loc="left",
        color=INK,
        fontweight="bold",
        pad=10,
        parse_math=False,
    )
    save_figure(figure, path)


def _class_samples(split: Split, label: int) -> NDArray[np.uint8]:
    """Samples of a class side by side on white: (height, width, channels)."""
    channels, height, width = split.images.shape[1:]
    scale = min(1.0, SHOWN_SIDE / max(height, width))
    height, width = max(1, round(scale * height)), max(1, round(scale * width))
    sheet = np.full(
        (height + GAP, SAMPLE_COLUMNS * (width + GAP), channels if channels == 3 else 1), 255, dtype=np.uint8
    )
    rows = (split.labels == label).nonzero().flatten()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(label))
    for place, row in enumerate(rows[order][:SAMPLE_COLUMNS].tolist()):
        left = place * (width + GAP)
        image = split.images[row]
        if channels not in (1, 3):
            image = image.float().mean(0, keepdim=True).round().to(torch.uint8)
        if scale < 1:
            image = functional.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
        sheet[:height, left : left + width] = image.permute(1, 2, 0).numpy()
    return sheet


def _some(count: int, most: int) -> list[int]:
    """So many of the numbers from 0, at even distances; all if they are not more."""
    return [index * count // most for index in range(most)] if count > most else list(range(count))


def _of_classes(shown: int, data: Dataset) -> str:
    return f", {shown} of {len(data.classes):,} classes" if shown < len(data.classes) else ""
