"""FER2013 as a folder of images."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.image_trees import write_tar, write_zip
from helpers.tiny_runs import tiny_csv
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


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "validation"), {"train": 1, "valid": 1}),
        (("train", "dev", "test"), {"train": 1, "valid": 1, "test": 1}),
        (("train", "dev", "eval"), {"train": 1, "valid": 1, "test": 1}),
        (("Train", "Evaluation", "Testing"), {"train": 1, "valid": 1, "test": 1}),
    ],
)
def test_customary_names_of_splits(tmp_path: Path, names: tuple[str, ...], expected: dict[str, int]) -> None:
    for grey, name in enumerate(names):
        draw(tmp_path / name / "happy" / "1.png", grey=grey)
    data = load(tmp_path)
    assert sizes(data) == expected
    for name, split in zip(names, ("train", "valid", "test"), strict=False):
        assert data.splits[split].images[0, 0, 0, 0] == names.index(name)


@pytest.mark.parametrize("others", [(), ("valid", "test")])
def test_an_eval_split_that_may_be_either_is_refused(tmp_path: Path, others: tuple[str, ...]) -> None:
    for name in ("train", "eval", *others):
        draw(tmp_path / name / "happy" / "1.png")
    with pytest.raises(DataError, match="eval/ may be the valid or the test split") as caught:
        load(tmp_path)
    assert "rename it" in caught.value.fix


@pytest.mark.parametrize(
    "names",
    [
        ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
        ("Angry", "Disgusted", "Fearful", "Happy", "Sad", "Surprised", "Neutral"),
        ("0", "1", "2", "3", "4", "5", "6"),
        ("0_angry", "1-disgust", "2 fear", "3.happy", "4_sadness", "5_surprise", "6_neutral"),
    ],
)
def test_customary_names_of_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for label, name in enumerate(names):
        draw(tmp_path / "train" / name / "1.png", grey=label)
    data = load(tmp_path)
    train = data.splits["train"]
    assert train.images[:, 0, 0, 0].tolist() == train.labels.tolist()
    assert sorted(train.labels.tolist()) == list(range(7))
    assert ("FER2013's numbers" in data.origin) == (names[0] == "0")


def test_numbers_that_do_not_begin_with_0_are_refused(tmp_path: Path) -> None:
    for name in "123456":
        draw(tmp_path / "train" / name / "1.png")
    with pytest.raises(DataError, match="do not begin with 0"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["7", "0_neutral", "angryhappy", "happy2"])
def test_another_name_of_a_class_is_refused(tmp_path: Path, name: str) -> None:
    draw(tmp_path / "train" / name / "1.png")
    with pytest.raises(DataError, match="unknown class") as caught:
        load(tmp_path)
    assert repr(name) in caught.value.why


def test_two_folders_for_one_class_are_never_merged(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "anger" / "1.png")
    draw(tmp_path / "train" / "angry" / "1.png")
    with pytest.raises(DataError, match="two folders for the class angry") as caught:
        load(tmp_path)
    assert "anger/ and angry/" in caught.value.why


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp", "gif", "ppm", "pgm", "bmp", "tiff", "jfif", "jp2"])
def test_every_format_that_predict_reads_is_read(tmp_path: Path, suffix: str) -> None:
    draw(tmp_path / "train" / "happy" / f"1.{suffix}", 80)
    draw(tmp_path / "train" / "sad" / "1.png")
    images = load(tmp_path).splits["train"].images
    assert len(images) == 2
    assert abs(int(images[0, 0, 20, 20]) - 80) <= 2


def test_folders_inside_a_class_are_read(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "1.png", 1)
    draw(tmp_path / "train" / "happy" / "person 7" / "1.png", 2)
    draw(tmp_path / "train" / "happy" / "3" / "deep" / "1.png", 3)
    split = load(tmp_path).splits["train"]
    assert sorted(split.images[:, 0, 0, 0].tolist()) == [1, 2, 3]
    assert split.labels.tolist() == [3, 3, 3]


@pytest.mark.parametrize("inner", ["sad", "Neutral", "train", "eval"])
def test_a_class_or_a_split_inside_a_class_is_refused(tmp_path: Path, inner: str) -> None:
    draw(tmp_path / "train" / "happy" / inner / "1.png")
    with pytest.raises(DataError, match="another class or a split") as caught:
        load(tmp_path)
    assert f"{inner}/ inside happy/" in caught.value.why


def test_a_link_to_a_folder_around_it_ends(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "1.png")
    (tmp_path / "train" / "happy" / "again").symlink_to(tmp_path / "train" / "happy")
    assert sizes(load(tmp_path)) == {"train": 1}


@pytest.mark.parametrize("inside", ["images", "archive/images", "fer2013"])
def test_a_folder_around_the_splits(tmp_path: Path, inside: str) -> None:
    draw(tmp_path / inside / "train" / "happy" / "1.png")
    draw(tmp_path / inside / "validation" / "sad" / "1.png")
    (tmp_path / "__MACOSX" / "train").mkdir(parents=True)
    assert sizes(load(tmp_path)) == {"train": 1, "valid": 1}


def test_another_data_set_beside_it_is_not_taken_for_it(tmp_path: Path) -> None:
    draw(tmp_path / "fer2013" / "train" / "happy" / "1.png")
    draw(tmp_path / "cifar10" / "train" / "airplane" / "1.png")
    assert sizes(load(tmp_path)) == {"train": 1}


def test_two_copies_inside_a_folder_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "old" / "train" / "happy" / "1.png")
    draw(tmp_path / "new" / "train" / "happy" / "1.png")
    with pytest.raises(DataError, match="more than once") as caught:
        load(tmp_path)
    assert "new/, old/" in caught.value.why


def test_what_is_left_out_is_counted_and_named(tmp_path: Path) -> None:
    draw(tmp_path / "train" / "happy" / "1.png")
    draw(tmp_path / "train" / "stray.png")
    draw(tmp_path / "top.png")
    draw(tmp_path / "extra" / "happy" / "1.png")
    draw(tmp_path / "extra" / "happy" / "2.webp")
    (tmp_path / "train" / "happy" / "2.heic").write_bytes(b"unknown to Pillow")
    with pytest.warns(UserWarning, match="4 images left out") as warned:
        data = load(tmp_path)
    assert sizes(data) == {"train": 1}
    (note,) = [str(item.message) for item in warned]
    assert "2 in extra/" in note
    assert "1 in train/" in note
    assert "1 in the folder itself" in note
    assert note.removeprefix(f"{tmp_path}: ") in data.origin
    assert "1 file left out, no images by their names: 2.heic" in data.origin


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file systems refuse such names")
def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    latin = os.fsdecode("caf\u00e9".encode("latin-1"))
    draw(tmp_path / "train" / "happy" / f"{latin}.png", 7)
    draw(tmp_path / "train" / f"{latin}.png")
    (tmp_path / f"{latin}.txt").touch()
    with pytest.warns(UserWarning, match="1 image left out"):
        data = load(tmp_path)
    assert data.splits["train"].images[0, 0, 0, 0] == 7
    assert "caf\\xe9.txt" in data.origin
    assert data.origin.encode()


def test_images_beside_a_file_are_left_out_aloud(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text("emotion,pixels\n3," + " ".join(["7"] * 2304) + "\n")
    draw(tmp_path / "sample.png")
    with pytest.warns(UserWarning, match="1 image left out"):
        assert "1 image left out" in load(tmp_path).origin


def test_a_file_beside_splits_is_ambiguous(tmp_path: Path) -> None:
    (tmp_path / "fer2013.csv").write_text("emotion,pixels\n3," + " ".join(["7"] * 2304) + "\n")
    draw(tmp_path / "train" / "happy" / "1.png")
    with pytest.raises(DataError, match="both as a file and as images") as caught:
        load(tmp_path)
    assert "fer2013.csv" in caught.value.fix


def test_classes_without_splits_are_refused_by_name(tmp_path: Path) -> None:
    draw(tmp_path / "happy" / "1.png")
    draw(tmp_path / "sad" / "1.png")
    with pytest.raises(DataError, match="classes but no splits") as caught:
        load(tmp_path)
    assert "train/" in caught.value.fix


def test_the_layout_of_ferplus_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("FER2013Train", "FER2013Valid", "FER2013Test"):
        draw(tmp_path / name / "fer0000000.png")
    with pytest.raises(DataError, match="layout of FER"):
        load(tmp_path)


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


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
@pytest.mark.parametrize("inside", ["", "fer2013/images/"])
def test_an_archive_is_read_as_the_folder_that_it_unpacks_to(tmp_path: Path, form: str, inside: str) -> None:
    for name in ("train/happy/1.png", "train/sad/2.png", "test/PublicTest_3.png", "test/fear/PublicTest_4.png"):
        draw(tmp_path / "folder" / name, grey=len(name))
    folder = tmp_path / "folder"
    files = {inside + name.relative_to(folder).as_posix(): name.read_bytes() for name in sorted(folder.rglob("*.png"))}
    archive = (write_zip if form == "zip" else write_tar)(tmp_path / f"faces.{form}", files)
    with pytest.warns(UserWarning, match="1 image left out") as warned:
        data, plain = load(archive), load(folder)
    assert sizes(data) == {"train": 2, "valid": 1}
    assert data.fingerprint == plain.fingerprint
    assert str(warned[0].message).startswith(str(archive))
    assert data.origin.startswith(f"{archive}{'/fer2013/images' if inside else ''}: a folder of 3 images")
    assert "/tmp" not in data.origin.replace(str(tmp_path), "")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_an_archive_of_the_original_file(tmp_path: Path, form: str) -> None:
    file = tiny_csv(tmp_path / "fer2013.csv")
    files = {"fer2013/fer2013.csv": file.read_bytes(), "fer2013/README": b"of Kaggle's archive"}
    archive = (write_zip if form == "zip" else write_tar)(tmp_path / f"fer2013.{form}", files)
    data = load(archive)
    assert data.fingerprint == load(file).fingerprint
    assert data.origin.startswith(f"{archive}/fer2013/fer2013.csv: unrecognised, 280 samples")
