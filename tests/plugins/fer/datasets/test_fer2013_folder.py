"""FER2013 as a folder of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from localrules.data.dataset import Dataset
from localrules.data.images import fit_to_shape, read_image
from localrules.errors import DataError
from localrules_fer.datasets.fer2013 import FER2013


def draw(path: Path, grey: int = 100, size: tuple[int, int] = (48, 48), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, grey).convert(mode).save(path)


def load(folder: Path) -> Dataset:
    return FER2013(FER2013.Config(path=folder)).load()


def sizes(data: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "PublicTest", "PrivateTest")])
def test_three_splits_by_folder(tmp_path: Path, names: tuple[str, str, str]) -> None:
    for grey, (split, label) in enumerate([(0, "angry"), (0, "neutral"), (1, "sad"), (2, "fear"), (2, "fear")]):
        draw(tmp_path / names[split] / label / f"{grey}.png", grey=grey)
    data = load(tmp_path)
    assert sizes(data) == {"train": 2, "valid": 1, "test": 2}
    assert data.splits["train"].labels.tolist() == [0, 6]
    assert data.splits["test"].labels.tolist() == [2, 2]
    assert data.splits["test"].images[:, 0, 0, 0].tolist() == [3, 4]
    assert data.shape == (1, 48, 48)


def test_images_of_any_size_and_mode_become_48_by_48_grey(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "a.png", 10, (48, 48), "RGB")
    draw(tmp_path / "train" / "happy" / "b.JPG", 200, (100, 70), "L")
    draw(tmp_path / "train" / "happy" / "c.png", 30, (20, 20), "RGBA")
    images = load(tmp_path).splits["train"].images
    assert images.shape == (3, 1, 48, 48)
    assert images.dtype == torch.uint8
    assert [int(image.float().mean().round()) for image in images] == [10, 200, 30]


@pytest.mark.parametrize("kind", ["wide", "sixteen bits", "turned", "transparent", "colour"])
def test_a_folder_is_read_as_predict_reads_its_files(tmp_path: Path, kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 4), dtype=np.uint8)
    file = tmp_path / "train" / "happy" / "a.png"
    file.parent.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    {
        "wide": lambda: Image.fromarray(pixels[..., 0]).save(file),
        "sixteen bits": lambda: Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(file),
        "turned": lambda: Image.fromarray(pixels[..., 0]).save(file, exif=exif),
        "transparent": lambda: Image.fromarray(pixels).save(file),
        "colour": lambda: Image.fromarray(pixels[..., :3]).save(file),
    }[kind]()
    (trained_on,) = load(tmp_path).splits["train"].images
    assert torch.equal(trained_on, fit_to_shape(read_image(file), (1, 48, 48)))
    middle = torch.from_numpy(pixels[:, 15:75, 0])
    if kind in ("wide", "sixteen bits"):
        assert abs(float(trained_on.float().mean()) - float(middle.float().mean())) < 1


def test_pixels_are_kept_as_they_are_when_the_size_fits(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    (tmp_path / "train" / "fear").mkdir(parents=True)
    Image.fromarray(pixels).save(tmp_path / "train" / "fear" / "a.png")
    assert torch.equal(load(tmp_path).splits["train"].images[0, 0], torch.from_numpy(pixels))


def test_kaggles_merged_test_folder_is_told_apart_by_its_file_names(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "Training_1.png")
    draw(tmp_path / "test" / "happy" / "PublicTest_1.png", 50)
    draw(tmp_path / "test" / "sad" / "PrivateTest_1.png", 60)
    data = load(tmp_path)
    assert sizes(data) == {"train": 1, "valid": 1, "test": 1}
    assert data.splits["valid"].images[0, 0, 0, 0] == 50
    assert "told apart by the file names" in data.origin


def test_another_test_folder_stays_whole(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "1.png")
    draw(tmp_path / "test" / "happy" / "PublicTest_1.png", 50)
    draw(tmp_path / "test" / "sad" / "2.png", 60)
    data = load(tmp_path)
    assert sizes(data) == {"train": 1, "test": 2}
    assert "as it stands" in data.origin
    with pytest.raises(DataError, match="no 'valid' split"):
        data.split("valid")


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "1.png")
    (tmp_path / "train" / "happy" / "._1.png").write_bytes(b"macOS was here")
    (tmp_path / "train" / "happy" / "Thumbs.db").write_bytes(b"so was Windows")
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    assert sizes(load(tmp_path)) == {"train": 1}


def test_changing_a_image_or_its_place_is_seen(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "1.png", 10)
    draw(tmp_path / "train" / "sad" / "2.png", 20)
    first = load(tmp_path).fingerprint
    draw(tmp_path / "train" / "happy" / "1.png", 11)
    second = load(tmp_path)
    assert second.splits["train"].images[0, 0, 0, 0] == 11
    (tmp_path / "train" / "sad" / "2.png").rename(tmp_path / "train" / "happy" / "2.png")
    third = load(tmp_path)
    assert third.splits["train"].labels.tolist() == [3, 3]
    assert len({first, second.fingerprint, third.fingerprint}) == 3


def test_a_image_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "1.png")
    (tmp_path / "train" / "happy" / "2.png").write_bytes(b"this is no picture")
    with pytest.raises(DataError, match="not an image that can be read") as caught:
        load(tmp_path)
    assert caught.value.where.endswith("2.png")


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    path = tmp_path / "train" / "happy" / "1.jpg"
    draw(path, size=(300, 300))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="not an image that can be read") as caught:
        load(tmp_path)
    assert caught.value.where.endswith("1.jpg")


def test_an_unknown_class_is_named(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "contempt" / "1.png")
    with pytest.raises(DataError, match="unknown class") as caught:
        load(tmp_path)
    assert "contempt" in caught.value.why
    assert "disgust" in caught.value.why


def test_two_folders_for_one_split_are_never_merged(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "1.png")
    draw(tmp_path / "training" / "happy" / "1.png")
    with pytest.raises(DataError, match="two train splits"):
        load(tmp_path)
