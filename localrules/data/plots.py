"""Plots of a data set: its label counts, and samples of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

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


def plot_label_counts(data: Dataset, path: Path) -> None:
    """A bar for each class and split: its fraction of the split, with the count beside it.

    Args:
        data: The data set.
        path: The PNG file.
    """
    present = [name for name in SPLITS if name in data.splits]
    figure = new_figure(8.0, 1.3 + 0.24 * len(data.classes) * (len(present) + 0.7))
    axes = figure.add_subplot()
    height = 0.82 / len(present)
    for place, name in enumerate(present):
        labels = data.splits[name].labels
        counts = torch.bincount(labels, minlength=len(data.classes))
        percentages = (100 * counts / len(labels)).tolist()
        middle = [row + (place - (len(present) - 1) / 2) * height for row in range(len(data.classes))]
        bars = axes.barh(
            middle, percentages, height * 0.9, color=_SPLIT_COLOURS[name], label=f"{name}, {len(labels):,} samples"
        )
        axes.bar_label(bars, [f"{count:,}" for count in counts.tolist()], padding=4, fontsize=8, color=INK)
    axes.set_yticks(range(len(data.classes)), data.classes, parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.1, y=0.02)
    axes.set_xlabel("fraction of the split, %", color=MUTED)
    axes.tick_params(length=0, colors=INK)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axes.grid(axis="x", color=GRID, zorder=0)
    axes.set_axisbelow(True)
    axes.set_title(f"{data.name}: labels", loc="left", color=INK, fontweight="bold", pad=30, parse_math=False)
    axes.legend(frameon=False, ncols=3, loc="lower left", bbox_to_anchor=(-0.01, 1.0), labelcolor=INK, borderpad=0.2)
    save_figure(figure, path)


def plot_samples(data: Dataset, path: Path) -> None:
    """A row of images for each class, drawn at random with a fixed seed, from the first split.

    Args:
        data: The data set.
        path: The PNG file.
    """
    name = next(name for name in SPLITS if name in data.splits)
    sheet = np.stack([_class_samples(data.splits[name], label) for label in range(len(data.classes))])
    classes, rows, columns = sheet.shape[:3]
    inches = ZOOM * np.array([columns, classes * rows]) / 100
    figure = new_figure(inches[0] + 1.4, inches[1] + 0.7)
    axes = figure.add_subplot()
    axes.imshow(sheet.reshape(classes * rows, columns, -1).squeeze(), cmap="gray", vmin=0, vmax=255, aspect="equal")
    axes.set_yticks([rows * (label + 0.5) for label in range(classes)], data.classes, parse_math=False)
    axes.set_xticks([])
    axes.tick_params(length=0, colors=INK)
    axes.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axes.set_title(
        f"{data.name}: images of the {name} split", loc="left", color=INK, fontweight="bold", pad=10, parse_math=False
    )
    save_figure(figure, path)


def _class_samples(split: Split, label: int) -> NDArray[np.uint8]:
    """Samples of a class side by side on white: (height, width, channels)."""
    channels, height, width = split.images.shape[1:]
    sheet = np.full((height + GAP, SAMPLE_COLUMNS * (width + GAP), channels), 255, dtype=np.uint8)
    rows = (split.labels == label).nonzero().flatten()
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(label))
    for place, row in enumerate(rows[order][:SAMPLE_COLUMNS].tolist()):
        left = place * (width + GAP)
        sheet[:height, left : left + width] = split.images[row].permute(1, 2, 0).numpy()
    return sheet
