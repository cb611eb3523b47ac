"""The histogram and the sample sheet, for any data set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from localrules.data.dataset import Dataset, Split
from localrules.data.plots import plot_label_counts, plot_samples
from localrules.tracking.plots.curves import plot_confusion

pytestmark = pytest.mark.draws


def data_set(channels: int = 1, names: tuple[str, ...] = ("train", "valid", "test")) -> Dataset:
    draw = torch.Generator().manual_seed(0)
    splits = {
        name: Split(
            torch.randint(0, 256, (40, channels, 12, 10), dtype=torch.uint8, generator=draw),
            torch.randint(0, 3, (40,), generator=draw),  # the last class is empty
        )
        for name in names
    }
    return Dataset("some", ("one", "two", "three", "four"), splits, "made up", "0", redistributable=True)


def test_names_are_drawn_as_they_are_written(tmp_path: Path) -> None:
    plain, dollars = data_set(), replace(data_set(), classes=("$5_$10", "over_$10", "{", "\\frac"))
    for number, data in enumerate((plain, dollars)):
        plot_label_counts(data, tmp_path / f"{number}.png")
        plot_samples(data, tmp_path / f"{number}.png")
        plot_confusion(torch.eye(4, dtype=torch.int64).tolist(), data.classes, tmp_path / f"confusion-{number}.png")
    assert (tmp_path / "0.png").read_bytes() != (tmp_path / "1.png").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("names", [("train", "valid", "test"), ("test",)])
def test_images_are_drawn_for_any_channels_and_splits(tmp_path: Path, channels: int, names: tuple[str, ...]) -> None:
    data = data_set(channels, names)
    for draw in (plot_label_counts, plot_samples):
        draw(data, tmp_path / "image.png")
        with Image.open(tmp_path / "image.png") as image:
            assert image.format == "PNG"
            assert min(image.size) > 100
    assert [path.name for path in tmp_path.iterdir()] == ["image.png"]


def test_the_sample_sheet_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plot_samples(data_set(), tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_many_classes_large_images_and_other_channels_are_drawn_small(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (300, 2, 150, 100), dtype=torch.uint8, generator=draw)
    classes = tuple(f"class {number}" for number in range(300))
    splits = {"train": Split(images, torch.arange(300))}
    data = Dataset("some", classes, splits, "made up", "0", redistributable=True)
    for plot, most in ((plot_samples, 40 * 66), (plot_label_counts, 200 * 41)):
        plot(data, tmp_path / "image.png")
        with Image.open(tmp_path / "image.png") as image:
            assert image.size[1] < 3 * most
