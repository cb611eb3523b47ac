"""Folders and archives of images of one's own."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from unicodedata import normalize

import pytest
import torch
from helpers.image_trees import images, png, write_folder, write_tar, write_zip
from helpers.tiny_runs import localrules

from localrules.data.dataset import Dataset
from localrules.errors import DataError, LocalRulesError, UsageError
from localrules_vision.image_folder import ImageFolder

SPLITS = images(*(f"{split}/{name}" for split in ("train", "val", "test") for name in ("cat", "dog")))
CLASSES = images("cat", "dog", "eel", count=10)


def load(path: Path, **options: object) -> Dataset:
    return ImageFolder(ImageFolder.Config(path=path, **options)).load()  # type: ignore[arg-type]


def failure(path: Path, **options: object) -> LocalRulesError:
    with pytest.raises(LocalRulesError) as caught:
        load(path, **options)
    assert caught.value.exit_code == 2
    assert all(caught.value.as_dict().values())
    return caught.value


def sizes(data: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}


@pytest.mark.parametrize("form", ["folder", "tar.gz", "zip"])
def test_splits_and_classes_by_folder(tmp_path: Path, form: str) -> None:
    write = {"folder": write_folder, "tar.gz": write_tar, "zip": write_zip}[form]
    path = write(tmp_path / f"pets.{form}", SPLITS)
    data = load(path)
    assert data.classes == ("cat", "dog")
    assert sizes(data) == {"train": 4, "valid": 2 * 2, "test": 4}
    assert data.splits["train"].labels.tolist() == [0, 0, 1, 1]
    assert data.shape == (3, 8, 8)
    assert "4 train, 4 valid, 4 test" in data.origin
    again = load(path)
    assert again.fingerprint == data.fingerprint
    assert torch.equal(again.splits["test"].images, data.splits["test"].images)


@pytest.mark.parametrize("around", ["pets/", "data/pets/2024/"])
def test_folders_around_the_data_do_not_count(tmp_path: Path, around: str) -> None:
    path = write_tar(tmp_path / "a.tar", {around + name: content for name, content in SPLITS.items()})
    assert sizes(load(path)) == {"train": 4, "valid": 4, "test": 4}
    path = write_tar(tmp_path / "b.tar", {around + name: content for name, content in CLASSES.items()})
    assert sizes(load(path, valid_fraction=0)) == {"train": 30}


@pytest.mark.parametrize("around", ["archive", "data/pets/2024"])
@pytest.mark.parametrize(
    ("stray", "place"),
    [
        ("cover.png", "1 in the folder itself"),
        ("docs/shot.png", "1 in docs/"),
        ("docs/2024/shot.png", "1 in docs/"),
        ("archive/shot.png", "1 in archive/"),
    ],
)
def test_images_beside_wrapped_splits_are_left_out(tmp_path: Path, around: str, stray: str, place: str) -> None:
    files = {f"{around}/{name}": content for name, content in SPLITS.items()}
    with pytest.warns(UserWarning, match=f"1 image left out, which lie in no folder of a class: {place}"):
        data = load(write_folder(tmp_path, {**files, stray: png(99)}))
    assert data.classes == ("cat", "dog")
    assert sizes(data) == {"train": 4, "valid": 4, "test": 4}


def test_an_image_beside_wrapped_classes_is_left_out(tmp_path: Path) -> None:
    files = {f"archive/pets/{name}": content for name, content in CLASSES.items()}
    with pytest.warns(UserWarning, match="1 image left out, which lie in no folder of a class: 1 in the folder itself"):
        data = load(write_folder(tmp_path, {**files, "cover.png": png(99)}), valid_fraction=0)
    assert data.classes == ("cat", "dog", "eel")


def test_several_folders_with_splits_are_not_chosen_from(tmp_path: Path) -> None:
    files = {f"{around}/{name}": content for around in ("one", "two") for name, content in SPLITS.items()}
    assert load(write_folder(tmp_path, files), valid_fraction=0).classes == ("one", "two")


def test_a_split_at_the_top_comes_before_one_in_a_folder(tmp_path: Path) -> None:
    files = {**images("train/cat", "train/dog"), **images("test/old/train/cat", "test/dog")}
    assert "test split has classes that train has not" in failure(write_folder(tmp_path, files)).what


def test_folders_inside_a_class_belong_to_it(tmp_path: Path) -> None:
    files = images("cat/2023", "cat/2024", "dog/2023/may", "dog")
    assert load(write_folder(tmp_path, files), valid_fraction=0).splits["train"].labels.tolist() == [0] * 4 + [1] * 4


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path, images("10", "9", "0", count=1)), valid_fraction=0)
    assert data.classes == ("0", "9", "10")


def test_without_splits_a_fraction_is_asked_for(tmp_path: Path) -> None:
    path = write_folder(tmp_path, CLASSES)
    error = failure(path)
    assert "classes but no splits" in error.what
    assert "data.valid_fraction=0.1" in error.fix
    data = load(path, valid_fraction=0)
    with pytest.raises(DataError) as caught:
        data.split("valid")
    assert "data.valid_fraction" in caught.value.fix


def test_the_held_out_fraction_is_drawn_from_each_class_by_the_seed(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {**CLASSES, **images("rare", count=2), **images("single", count=1)})
    data = load(path, valid_fraction=0.2)
    assert Counter(data.splits["valid"].labels.tolist()) == {0: 2, 1: 2, 2: 2, 3: 1}
    assert Counter(data.splits["train"].labels.tolist()) == {0: 8, 1: 8, 2: 8, 3: 1, 4: 1}
    assert "valid is 0.2 of each class, seed 0" in data.origin
    assert load(path, valid_fraction=0.2).fingerprint == data.fingerprint
    assert load(path, valid_fraction=0.2, split_seed=1).fingerprint != data.fingerprint
    everything = torch.cat([split.images.flatten(1) for split in data.splits.values()])
    assert len(everything.unique(dim=0)) == 30  # the last three are copies


def test_a_fraction_where_there_is_a_valid_split_is_wrong_use(tmp_path: Path) -> None:
    assert "has a valid split already" in failure(write_folder(tmp_path, SPLITS), valid_fraction=0.1).what


def test_a_valid_split_can_be_held_out_beside_a_test_split(tmp_path: Path) -> None:
    files = {name: content for name, content in SPLITS.items() if not name.startswith("val/")}
    assert sizes(load(write_folder(tmp_path, files), valid_fraction=0.5)) == {"train": 2, "valid": 2, "test": 4}


def test_a_changed_image_is_decoded_again(tmp_path: Path) -> None:
    path = write_folder(tmp_path, SPLITS)
    first = load(path)
    (path / "train/cat/0.png").write_bytes(png(99))
    assert load(path).fingerprint != first.fingerprint


def test_other_files_are_left_out_and_counted(tmp_path: Path) -> None:
    others = {
        "readme.txt": b"text",
        "cover.png": png(5),
        "docs/plan.png": png(6),
        ".DS_Store": b"",
        "train/._0.png": b"",
    }
    with pytest.warns(UserWarning, match="left out") as caught:
        data = load(write_folder(tmp_path, {**SPLITS, **others}))
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 2
    assert "2 images left out, which lie in no folder of a class: 1 in the folder itself, 1 in docs/" in texts[0]
    assert "1 file left out, no images by their names: readme.txt" in texts[1]
    assert sizes(data) == {"train": 4, "valid": 4, "test": 4}
    assert "readme.txt" in data.origin


def test_skipped_images_are_said_each_time(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {**SPLITS, "train/cat/bad.png": b"text"})
    assert "1 image cannot be read" in failure(path).what
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"1 unreadable images? left out: train/cat/bad.png"):
            assert sizes(load(path, skip_unreadable=True))["train"] == 4


@pytest.mark.parametrize(
    ("files", "what"),
    [
        ({}, "holds no images in folders of classes"),
        (images(""), "holds no images in folders of classes"),
        (images("train", "test"), "the folders of splits hold images, and no folders of classes"),
        (images("train/cat", "training/dog"), "two train splits"),
        (images("train/cat", "train/dog", "eval/cat"), "may be the valid or the test split"),
        (images("train/cat", "train/dog", "test/cow"), "test split has classes that train has not"),
    ],
)
def test_layouts_that_cannot_be_read(tmp_path: Path, cache: Path, files: dict[str, bytes], what: str) -> None:
    assert (
        what
        in failure(write_folder(tmp_path, {name.removeprefix("/"): content for name, content in files.items()})).what
    )
    assert list(cache.iterdir()) == []


def test_names_of_a_zip_archive_are_utf_8_where_it_does_not_say_so(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "pets.zip", images("train/café", "train/日本", "train/zoo"))
    content = bytearray(path.read_bytes())
    for header, flags in ((b"PK\x03\x04", 7), (b"PK\x01\x02", 9)):
        for found in re.finditer(re.escape(header), bytes(content)):
            content[found.start() + flags] &= ~0x08
    path.write_bytes(content)
    assert load(path).classes == ("café", "zoo", "日本")


def test_a_class_is_the_same_however_its_accents_are_written(tmp_path: Path) -> None:
    places = [f"train/{normalize('NFC', 'café')}", "train/zoo", f"test/{normalize('NFD', 'café')}"]
    data = load(write_tar(tmp_path / "pets.tar", images(*places)))
    assert data.classes == (normalize("NFC", "café"), "zoo")
    assert data.splits["test"].labels.tolist() == [0, 0]


def test_a_split_without_a_readable_image_is_an_error(tmp_path: Path) -> None:
    files = {**SPLITS, **dict.fromkeys(images("test/cat", "test/dog"), b"no image")}
    error = failure(write_folder(tmp_path, files), skip_unreadable=True)
    assert "no image of the test split is left" in error.why
    assert "skip_unreadable" not in error.fix


def test_a_path_is_needed() -> None:
    with pytest.raises(UsageError, match="where the images are"):
        ImageFolder(ImageFolder.Config()).load()


def test_a_run_on_a_zip_archive(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", CLASSES)
    words = ("run", "--rule", "backprop", "--model", "mlp", "--set", "model.hidden=[4]", "--data", "image_folder")
    short = ("--batch-size", "8", "--steps", "2", "--threads", "1", "--set", "plots=false", "--out", tmp_path / "runs")
    refused = localrules(*words, "--data-path", path, *short, "--json")
    assert refused.code == 2
    assert "valid_fraction" in refused.error["fix"]
    assert not (tmp_path / "runs").exists()
    said = localrules(*words, "--data-path", path, *short, "--set", "data.valid_fraction=0.2", "--json")
    assert said.code == 0, said.err
    assert 0 <= json.loads(said.out)["valid_accuracy"] <= 1
