"""Data sets through torchvision's classes, from a few images of noise."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers.image_trees import images, png, write_folder
from helpers.tiny_runs import localrules
from PIL import Image

from localrules.data.dataset import Dataset
from localrules.errors import DataError, LocalRulesError, UsageError
from localrules_vision.torchvision_sets import UNFLIPPED, TorchvisionSet

WNIDS = ("n01440764", "n02102040")  # the first two classes of Imagenette
IMAGENETTE = images(
    *(f"imagenette2-160/{split}/{wnid}" for split in ("train", "val") for wnid in WNIDS), count=3, size=(20, 16)
)
EUROSAT = images("eurosat/2750/Forest", "eurosat/2750/River", count=4)


def load(path: Path, **options: object) -> Dataset:
    return TorchvisionSet(TorchvisionSet.Config(path=path, **options)).load()  # type: ignore[arg-type]


def jpegs(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name.replace(".png", ".JPEG"): content for name, content in files.items()}


def test_a_data_set_with_a_valid_split(tmp_path: Path) -> None:
    path = write_folder(tmp_path, jpegs(IMAGENETTE))
    data = load(path, dataset="Imagenette", arguments={"size": "160px"}, size=8)
    assert data.name == "torchvision:Imagenette"
    assert data.shape == (3, 8, 8)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "valid": 6}
    assert data.splits["train"].labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert "no test split" in data.missing["test"]


def test_a_data_set_without_splits(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path, EUROSAT), dataset="EuroSAT")
    assert data.classes == ("Forest", "River")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "valid": 2}
    assert "held out as valid" in data.origin
    again = load(tmp_path, dataset="EuroSAT")
    assert again.fingerprint == data.fingerprint


def test_folders_of_splits_are_not_taken_for_classes(tmp_path: Path) -> None:
    path = write_folder(
        tmp_path, images(*(f"{split}/{name}" for split in ("train", "test") for name in ("cat", "dog")))
    )
    with pytest.raises(DataError, match="takes the folders of splits for classes") as refused:
        load(path, dataset="ImageFolder")
    assert "--data image_folder" in refused.value.fix


def test_image_files_are_read_as_everywhere(tmp_path: Path) -> None:
    clear = io.BytesIO()
    Image.new("LA", (8, 8), (0, 0)).save(clear, "PNG")
    data = load(
        write_folder(tmp_path, {f"{name}/0.png": clear.getvalue() for name in "ab"}), dataset="ImageFolder", holdout=0
    )
    assert data.splits["train"].images.min() == 255, "on white"


@pytest.mark.parametrize("grey", [0, 5])
def test_images_are_coloured_where_one_is(tmp_path: Path, grey: int) -> None:
    files = dict(EUROSAT)
    names = sorted(files)
    files[names[grey]] = png((20, 16), mode="L")
    assert load(write_folder(tmp_path, files), dataset="EuroSAT", size=8).shape == (3, 8, 8)


def test_characters_are_not_flipped() -> None:
    import torchvision

    known = {"MNIST", "KMNIST", "EMNIST", "QMNIST", "USPS", "SVHN", "SEMEION", "Omniglot"}
    assert known & set(torchvision.datasets.__all__) <= set(UNFLIPPED)


def test_a_run_by_one_word(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "root", EUROSAT)
    short = ("--batch-size", "4", "--steps", "1", "--threads", "1", "--set", "plots=false", "--out", tmp_path / "runs")
    words = (
        "run",
        "--rule",
        "backprop",
        "--model",
        "mlp",
        "--set",
        "model.hidden=[4]",
        "--data",
        "torchvision:EuroSAT",
    )
    said = localrules(*words, "--data-path", path, *short, "--json")
    assert said.code == 0, said.err
    shown = localrules("data", "show", "torchvision:EuroSAT", "--data-path", path, "--set", "data.holdout=0", "--json")
    assert shown.document["splits"].keys() == {"train"}


@pytest.mark.parametrize(
    ("options", "files", "message"),
    [
        ({}, EUROSAT, "which data set"),
        ({"dataset": "EuroSat"}, EUROSAT, "no data set 'EuroSat'"),
        ({"dataset": "VisionDataset"}, EUROSAT, "no data set 'VisionDataset'"),
        ({"dataset": "CocoCaptions"}, EUROSAT, "cannot be read with these arguments"),
        ({"dataset": "EMNIST"}, EUROSAT, "cannot be read with these arguments"),
        ({"dataset": "EuroSAT", "arguments": {"root": "."}}, EUROSAT, "is given to torchvision already"),
        ({"dataset": "EMNIST", "arguments": {"train": True}}, EUROSAT, "is given to torchvision already"),
        ({"dataset": "Imagenette", "arguments": {"split": "val"}}, EUROSAT, "is given to torchvision already"),
        ({"dataset": "Imagenette", "splits": {"train": "training"}}, EUROSAT, "has no such split"),
        ({"dataset": "Places365"}, EUROSAT, "has no such split"),
        ({"dataset": "EuroSAT", "splits": {"train": "train"}}, EUROSAT, "has no such split"),
        ({"dataset": "USPS", "splits": {"train": "training"}}, EUROSAT, "has no such split"),
        ({"dataset": "Flowers102"}, EUROSAT, "cannot be read"),
        ({"dataset": "EuroSAT"}, {**EUROSAT, **images("eurosat/2750/Lake", size=(9, 9))}, "different sizes"),
        ({"dataset": "EuroSAT"}, {**EUROSAT, "eurosat/2750/River/a.png": b"text"}, "a sample cannot be read"),
    ],
)
def test_what_cannot_be_read(
    tmp_path: Path, cache: Path, options: dict[str, object], files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(LocalRulesError, match=message) as caught:
        load(write_folder(tmp_path, files), **options)
    assert caught.value.exit_code == 2
    assert all(caught.value.as_dict().values())
    assert list(cache.iterdir()) == []


def test_a_damaged_split_is_not_taken_for_one_that_is_not_there(tmp_path: Path) -> None:
    path = write_folder(tmp_path, jpegs(IMAGENETTE))
    shutil.rmtree(path / "imagenette2-160" / "val")
    options = {"dataset": "Imagenette", "arguments": {"size": "160px"}, "size": 8}
    with pytest.raises(DataError, match="cannot be read") as caught:
        load(path, **options)
    assert caught.value.where == f"{path}, valid"
    assert "data.splits" in caught.value.fix
    data = load(path, **options, splits={"train": "train"})
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 4, "valid": 2}
    assert "data.splits names no test split" in data.missing["test"]


def test_splits_by_torchvisions_words(tmp_path: Path) -> None:
    path = write_folder(tmp_path, jpegs(IMAGENETTE))
    options = {"dataset": "Imagenette", "arguments": {"size": "160px"}, "size": 8}
    data = load(path, **options, splits={"test": "val", "train": "train"}, holdout=0)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 6, "test": 6}


def test_the_split_trainval_is_train(tmp_path: Path) -> None:
    lists = {
        f"annotations/{name}.txt": "".join(
            f"{breed}_{at} {label} 1 1\n" for label, breed in ((1, "Beagle"), (2, "Pug"))
        )
        for name, at in (("trainval", 1), ("test", 2))
    }
    photographs = {f"images/{breed}_{at}.jpg": png(at) for breed in ("Beagle", "Pug") for at in (1, 2)}
    files = {**{name: content.encode() for name, content in lists.items()}, **photographs}
    path = write_folder(tmp_path, {f"oxford-iiit-pet/{name}": content for name, content in files.items()})
    data = load(path, dataset="OxfordIIITPet", holdout=0)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 2, "test": 2}


def emnist(division: str) -> dict[str, bytes]:
    files = {}
    for split, count in (("train", 20), ("test", 6)):
        pixels, labels = np.zeros((count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 2 + 1
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
            files[f"EMNIST/raw/emnist-{division}-{split}-{kind}-ubyte"] = head + array.tobytes()
    return files


def test_emnist_takes_its_train_from_its_base(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path, emnist("letters")), dataset="EMNIST", arguments={"split": "letters"}, holdout=0)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 20, "test": 6}
    assert not data.flip_preserves_label
    only = {"dataset": "EMNIST", "arguments": {"split": "letters"}, "splits": {"test": "test"}}
    assert list(load(tmp_path, **only).splits) == ["test"]


def test_characters_are_not_flipped_unless_told_to(tmp_path: Path) -> None:
    path = write_folder(tmp_path, {**emnist("letters"), **EUROSAT})
    letters = {"dataset": "EMNIST", "arguments": {"split": "letters"}}
    assert load(path, **letters, flip=True).flip_preserves_label
    assert load(path, dataset="EuroSAT").flip_preserves_label
    assert not load(path, dataset="EuroSAT", flip=False).flip_preserves_label


def test_holding_out_beside_a_valid_split_is_wrong_use(tmp_path: Path) -> None:
    path = write_folder(tmp_path, jpegs(IMAGENETTE))
    with pytest.raises(UsageError, match="has a valid split already") as caught:
        load(path, dataset="Imagenette", arguments={"size": "160px"}, size=8, holdout=2)
    assert "valid has 6 samples" in caught.value.why


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"__len__": lambda self: 1 // 0}, "ZeroDivisionError"),
        ({"__len__": lambda self: 0}, "no samples"),
        ({"classes": property(lambda self: 1 // 0)}, "ZeroDivisionError"),
        ({"classes": property(lambda self: 7)}, "TypeError"),
    ],
)
def test_a_class_that_fails_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], why: str
) -> None:
    from torchvision import datasets

    class Broken(datasets.EuroSAT):
        def __init__(self, root: str) -> None:
            self.samples, self.loader = [], None

        def __getitem__(self, number: int) -> tuple[Image.Image, int]:
            return Image.new("L", (4, 4)), number % 2

        def __len__(self) -> int:
            return 20

    for name, value in change.items():
        setattr(Broken, name, value)
    monkeypatch.setattr(datasets, "EuroSAT", Broken)
    with pytest.raises(DataError, match="the samples cannot be read") as caught:
        load(tmp_path, dataset="EuroSAT")
    assert why in caught.value.why


def test_nothing_is_downloaded_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SEMEION is one of those that torchvision downloads by default."""
    from torchvision.datasets import SEMEION

    monkeypatch.setattr(SEMEION, "download", lambda self: pytest.fail("a download"))
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path, dataset="SEMEION")


def test_labels_that_are_not_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import EuroSAT

    monkeypatch.setattr(EuroSAT, "__getitem__", lambda self, number: (self.loader(self.samples[number][0]), [0.5, 1.0]))
    with pytest.raises(LocalRulesError, match="the labels are not classes"):
        load(write_folder(tmp_path, EUROSAT), dataset="EuroSAT")


def test_an_argument_of_a_data_set_that_takes_none_is_unknown() -> None:
    said = localrules("data", "show", "faces:EuroSAT", "--json")
    assert said.code == 2
    refused = localrules("data", "show", "faces", "--set", "epochs=3", "--json")
    assert "no option epochs of a data set" in refused.error["what"]
