"""Data sets through torchvision's classes, from a few images of noise."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.image_trees import images, write_folder
from helpers.tiny_runs import localrules

from localrules.data.dataset import Dataset
from localrules.errors import LocalRulesError
from localrules_vision.torchvision_sets import TorchvisionSet

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
        ({"dataset": "CocoCaptions"}, EUROSAT, "cannot be read"),
        ({"dataset": "Flowers102"}, EUROSAT, "cannot be read"),
        ({"dataset": "EuroSAT"}, {**EUROSAT, **images("eurosat/2750/Lake", size=(9, 9))}, "different sizes"),
        ({"dataset": "EuroSAT"}, {**EUROSAT, "eurosat/2750/River/a.png": b"text"}, "a sample cannot be read"),
    ],
)
def test_what_cannot_be_read(
    tmp_path: Path, cache: Path, options: dict[str, str], files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(LocalRulesError, match=message) as caught:
        load(write_folder(tmp_path, files), **options)
    assert caught.value.exit_code == 2
    assert all(caught.value.as_dict().values())
    assert list(cache.iterdir()) == []


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
