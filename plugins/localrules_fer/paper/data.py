"""Figures 6 to 9: what is in the data set."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from localrules.data.dataset import SPLITS, Dataset
from localrules.data.plots import plot_label_counts, plot_samples
from localrules.reproduce.artifacts import ArtifactWriter
from localrules.utils.plotting import bare_axes, new_figure, save_figure

ROWS, PIXELS = 5, 8  # of the sample of the table
USAGES = dict(zip(SPLITS, ("Training", "PublicTest", "PrivateTest"), strict=True))


def show_data(artifacts: ArtifactWriter) -> None:
    """A sample of the table, sheets of images, the spread of labels, an image of each expression."""
    data = artifacts.data
    sizes = ", ".join(f"{len(split):,} images in {USAGES[name]}" for name, split in data.splits.items())
    side = " x ".join(map(str, data.shape[1:]))
    artifacts.text(f"{data.name} here: {sizes}; {side} pixels; {len(data.classes)} expressions.")
    artifacts.table(
        "figure-6-table",
        f"Figure 6: the first {ROWS} rows as a table, with the first {PIXELS} of their pixels",
        ["label", "pixels", "usage"],
        _first_rows(data),
        shows_data=True,
    )
    for name, split in data.splits.items():
        artifacts.plot(
            f"figure-7-{name}",
            f"Figure 7: images of the {name} split, a row for each expression",
            partial(plot_samples, replace(data, splits={name: split})),
            shows_data=True,
        )
    artifacts.plot("figure-8-labels", "Figure 8: how labels are spread in each split", partial(plot_label_counts, data))
    artifacts.table("figure-8-labels", "Rows of each expression", ["expression", *data.splits], _counts(data))
    artifacts.plot(
        "figure-9-expressions",
        f"Figure 9: the {len(data.classes)} expressions",
        partial(draw_expressions, data),
        shows_data=True,
    )


def draw_expressions(data: Dataset, out: Path) -> Path:
    """Draw the first training image of each class.

    Args:
        data: The data set.
        out: The PNG file.
    """
    split = data.split("train")
    figure = new_figure(1.2 * len(data.classes), 1.5)
    panels = figure.subplots(1, len(data.classes))
    for label, (name, axes) in enumerate(zip(data.classes, panels, strict=True)):
        rows = (split.labels == label).nonzero()
        if len(rows):
            image = split.images[int(rows[0])].permute(1, 2, 0).squeeze(-1)
            axes.imshow(image.numpy(), cmap="gray", vmin=0, vmax=255)
        bare_axes(axes, name)
    return save_figure(figure, out)


def _first_rows(data: Dataset) -> list[list[object]]:
    name = next(name for name in SPLITS if name in data.splits)
    split = data.splits[name]
    pixels = split.images.flatten(1)[:ROWS, :PIXELS].tolist()
    labels = split.labels[:ROWS].tolist()
    return [
        [label, f"{' '.join(map(str, values))} ...", USAGES[name]] for label, values in zip(labels, pixels, strict=True)
    ]


def _counts(data: Dataset) -> list[list[object]]:
    counts = [torch.bincount(split.labels, minlength=len(data.classes)).tolist() for split in data.splits.values()]
    rows: list[list[object]] = [list(row) for row in zip(data.classes, *counts, strict=True)]
    return [*rows, ["all", *map(sum, counts)]]
