"""CIFAR-10 and CIFAR-100 from the files in which people have them. The images here are noise."""

from __future__ import annotations

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.cifar_files import BATCHES, Samples, binary, cifar10, cifar100, pickled, python2_pickle
from helpers.image_trees import images, png, write_folder, write_tar, write_zip
from helpers.tiny_runs import localrules

from localrules.data.dataset import Dataset
from localrules.errors import LocalRulesError, UsageError
from localrules_vision.cifar import CIFAR10, CIFAR100, COARSE_OF, FINE, SUPERCLASSES

Files = dict[str, bytes]
TEN = CIFAR10.classes


def load(path: Path | None, source: type = CIFAR10, **options: object) -> Dataset:
    return source(source.Config(path=path, **options)).load()


def failure(path: Path, source: type = CIFAR10, **options: object) -> LocalRulesError:
    with pytest.raises(LocalRulesError) as caught:
        load(path, source, **options)
    assert caught.value.exit_code == 2
    assert all(caught.value.as_dict().values())
    return caught.value


def inside(folder: str, files: Files) -> Files:
    return {f"{folder}/{name}": content for name, content in files.items()}


def sizes(data: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in data.splits.items()}


def stacked(parts: list[Samples]) -> torch.Tensor:
    return torch.from_numpy(np.concatenate([part.pixels for part in parts]).reshape(-1, 3, 32, 32))


def assert_whole(data: Dataset) -> None:
    content = cifar10()
    assert data.classes == TEN
    assert torch.equal(data.splits["train"].images, stacked([content[name] for name in BATCHES]))
    assert torch.equal(data.splits["test"].images, stacked([content["test_batch"]]))
    assert data.splits["train"].labels.tolist() == [label for name in BATCHES for label in content[name].labels]
    assert data.splits["test"].labels.tolist() == content["test_batch"].labels


@pytest.mark.parametrize("form", ["python", "binary", "protocol 5", "python 2"])
@pytest.mark.parametrize("place", ["archive", "folder", "root"])
def test_cifar10_in_every_form(tmp_path: Path, form: str, place: str) -> None:
    content = cifar10()
    files = {
        "python": pickled(content),
        "protocol 5": pickled(content, 5),
        "binary": binary(content),
        "python 2": {name: python2_pickle(part) for name, part in content.items()},
    }[form]
    folder = "cifar-10-batches-bin" if form == "binary" else "cifar-10-batches-py"
    everything = inside(folder, {**files, "readme.html": b"", "batches.meta": b""})
    if place == "archive":
        path = write_tar(tmp_path / "c.tar.gz", everything)
    else:
        path = write_folder(tmp_path, everything)
        path = path / folder if place == "folder" else path
    data = load(path, holdout=0)
    assert_whole(data)
    assert "unrecognised, 24 samples" in data.origin
    assert not data.redistributable
    assert data.flip_preserves_label


def test_the_forms_have_the_same_fingerprint(tmp_path: Path) -> None:
    found = {
        load(write_tar(tmp_path / f"{name}.tar", files)).fingerprint
        for name, files in (("p", pickled(cifar10())), ("b", binary(cifar10())))
    }
    assert len(found) == 1


@pytest.mark.parametrize("labels", ["fine", "coarse"])
@pytest.mark.parametrize("form", ["python", "binary"])
def test_cifar100_with_fine_and_coarse_labels(tmp_path: Path, form: str, labels: str) -> None:
    content = cifar100()
    files = inside(f"cifar-100-{form}", (pickled if form == "python" else binary)(content))
    data = load(write_folder(tmp_path, files), CIFAR100, labels=labels, holdout=0)
    part = content["train"]
    assert data.splits["train"].labels.tolist() == (part.labels if labels == "fine" else part.coarse)
    assert data.classes == (FINE if labels == "fine" else tuple(SUPERCLASSES))
    assert torch.equal(data.splits["test"].images, stacked([content["test"]]))


def test_each_superclass_has_five_classes() -> None:
    assert len(FINE) == len(COARSE_OF) == 100
    assert [COARSE_OF[name] for name in FINE[:8]] == [4, 1, 14, 8, 0, 6, 7, 7]  # as published


def test_the_last_of_each_class_are_held_out_unless_told_otherwise(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "c.tar", pickled(cifar10()))
    data = load(path)
    assert sizes(data) == {"train": 10, "valid": 10, "test": 4}
    assert data.splits["train"].labels.tolist() == data.splits["valid"].labels.tolist() == list(range(10))
    assert_whole(load(path, holdout=0))
    both = torch.cat([data.splits[name].images for name in ("train", "valid")])
    assert torch.equal(both, load(path, holdout=0).splits["train"].images)
    assert "the last 10 samples of train, evenly from the classes, held out as valid" in data.origin
    assert "data.holdout" in load(path, holdout=0).missing["valid"]
    with pytest.raises(UsageError, match="leaves a class without training samples"):
        load(path, holdout=20)


def test_the_published_files_are_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pickled(cifar10())
    archive = write_tar(tmp_path / "c.tar.gz", files)
    known = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    folder = write_folder(tmp_path / "folder", files)
    monkeypatch.setattr(CIFAR10, "md5", known)
    assert "the original, 24 samples" in load(folder).origin
    assert "the original, 24 samples" in load(archive).origin
    binary_archive = write_tar(tmp_path / "b.tar.gz", binary(cifar10()))
    monkeypatch.setattr(CIFAR10, "md5", {"any": hashlib.md5(binary_archive.read_bytes()).hexdigest()})
    assert "the original, 24 samples" in load(binary_archive).origin
    assert "unrecognised" in load(folder, holdout=0).origin


@pytest.mark.parametrize("form", ["folder", "tar.gz", "zip"])
def test_image_files(tmp_path: Path, form: str) -> None:
    write = {"folder": write_folder, "tar.gz": write_tar, "zip": write_zip}[form]
    files = images(*(f"c10/train/{name}" for name in TEN), size=(32, 32))
    data = load(write(tmp_path / f"c10.{form}", files))
    assert data.classes == TEN
    assert sizes(data) == {"train": 10, "valid": 10}
    assert data.shape == (3, 32, 32)
    assert "held out as valid" in data.origin
    assert "test/" in data.missing["test"]


def test_image_files_with_splits_keep_them(tmp_path: Path) -> None:
    files = images(
        *(f"{split}/{name}" for split in ("train", "valid", "test") for name in ("plane", "3")), size=(32, 32)
    )
    data = load(write_folder(tmp_path, files))
    assert sizes(data) == {"train": 4, "valid": 4, "test": 4}
    assert data.splits["train"].labels.unique().tolist() == [0, 3]
    assert "has a valid split already" in failure(tmp_path, holdout=5).what


def test_image_files_of_cifar100_with_coarse_labels(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path, images("beaver", "tractor", "shark", size=(32, 32))), CIFAR100, labels="coarse")
    assert data.splits["train"].labels.tolist() == [0, 1, 19]


def test_it_is_found_in_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CIFAR10.find() is None
    with pytest.raises(LocalRulesError, match="cifar10 was not found") as caught:
        load(None)
    assert "LOCALRULES_CIFAR10" in caught.value.fix
    write_folder(Path("data"), inside("cifar-10-batches-py", pickled(cifar10())))
    assert_whole(load(None, holdout=0))
    monkeypatch.setenv("LOCALRULES_CIFAR10", str(tmp_path / "elsewhere"))
    assert CIFAR10.find() == tmp_path / "elsewhere"


class Attack:
    """Asks the reader of a pickle to run a command."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("attacked",)


BAD_PICKLES: dict[str, tuple[object, str]] = {
    "code": ({"data": Attack(), "labels": []}, "mkdir"),
    "no dict": ([1, 2], "a list"),
    "no labels": ({"data": cifar10()["data_batch_1"].pixels}, "labels"),
    "no data": ({"labels": [0]}, "data"),
    "other dtype": ({"data": np.zeros((1, 3072)), "labels": [0]}, "float64 of shape (1, 3072)"),
    "other shape": ({"data": np.zeros((1, 1024), np.uint8), "labels": [0]}, "uint8 of shape (1, 1024)"),
    "fewer labels": ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "labels of shape (1,)"),
    "an impossible label": ({"data": np.zeros((2, 3072), np.uint8), "labels": [0, 10]}, "the label 10"),
    "ragged labels": ({"data": np.zeros((2, 3072), np.uint8), "labels": [[0], [1, 2]]}, "labels of no shape"),
    "data without a shape": ({"data": np.array(7, np.uint8), "labels": [0]}, "uint8 of shape ()"),
    "text labels": ({"data": np.zeros((1, 3072), np.uint8), "labels": ["cat"]}, "labels of shape"),
}


@pytest.mark.parametrize("case", BAD_PICKLES)
def test_a_bad_pickle_is_an_error_and_runs_nothing(tmp_path: Path, cache: Path, case: str) -> None:
    found, why = BAD_PICKLES[case]
    path = write_folder(tmp_path, {**pickled(cifar10()), "data_batch_3": pickle.dumps(found, 2)})
    error = failure(path)
    assert "data_batch_3" in error.where
    assert why in error.why
    assert not Path("attacked").exists()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
@pytest.mark.parametrize("form", ["python", "binary"])
def test_a_damaged_file_is_an_error(tmp_path: Path, cache: Path, form: str, damage: str) -> None:
    files = (pickled if form == "python" else binary)(cifar10())
    name = "data_batch_2" if form == "python" else "data_batch_2.bin"
    files[name] = {"cut": files[name][:-9], "garbage": b"\x93" * 100, "empty": b""}[damage]
    assert "data_batch_2" in failure(write_folder(tmp_path, files)).where
    assert list(cache.iterdir()) == []


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    files = pickled(cifar10())
    del files["data_batch_4"]
    assert "data_batch_4" in failure(write_tar(tmp_path / "c.tar.gz", files)).why


@pytest.mark.parametrize("missing", ["data_batch_1", "test_batch"])
@pytest.mark.parametrize("form", ["python", "binary"])
def test_the_first_or_the_last_file_may_be_the_missing_one(tmp_path: Path, form: str, missing: str) -> None:
    files = (pickled if form == "python" else binary)(cifar10())
    missing += ".bin" * (form == "binary")
    del files[missing]
    error = failure(write_folder(tmp_path, inside("c", files)))
    assert error.what == "the folder lacks files of the data set"
    assert error.why == f"there is no c/{missing}"


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_file_of_cifar100(tmp_path: Path, missing: str) -> None:
    files = pickled(cifar100())
    del files[missing]
    assert failure(write_folder(tmp_path, files), CIFAR100).why == f"there is no {missing}"


def test_a_file_of_cifar100s_names_beside_image_files_is_not_the_data_set(tmp_path: Path) -> None:
    folders = images("train/beaver", "train/otter", size=(32, 32))
    with pytest.warns(UserWarning, match="1 file left out, no images by their names: test"):
        data = load(write_folder(tmp_path, {**folders, "test": b"notes"}), CIFAR100)
    assert sizes(data) == {"train": 2, "valid": 2}


def test_two_copies_in_one_folder_are_not_chosen_from(tmp_path: Path) -> None:
    files = {**inside("one", pickled(cifar10())), **inside("two", pickled(cifar10()))}
    error = failure(write_folder(tmp_path, files))
    assert "more than once" in error.what
    assert error.why == "found one/ and two/"
    (tmp_path / "two" / "data_batch_3").unlink()
    assert_whole(load(tmp_path, holdout=0))


def test_the_other_data_set_is_recognised(tmp_path: Path) -> None:
    assert "--data cifar100" in failure(write_folder(tmp_path / "100", pickled(cifar100()))).fix
    assert "--data cifar10" in failure(write_folder(tmp_path / "10", binary(cifar10())), CIFAR100).fix


def test_images_that_are_not_cifar(tmp_path: Path, cache: Path) -> None:
    assert "unknown class" in failure(write_folder(tmp_path / "a", images("train/lamp"))).what
    small = failure(write_folder(tmp_path / "b", images("train/cat", "train/dog", count=4)))
    assert "8 x 8 pixels, not 32 x 32" in small.why
    assert "image_folder" in small.fix
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("bad", [b"text", png(1, size=(16, 16))])
def test_a_remedy_names_no_option_that_cifar_has_not(tmp_path: Path, bad: bytes) -> None:
    files = images("train/cat", "train/dog", size=(32, 32))
    error = failure(write_folder(tmp_path, {**files, "train/dog/9.png": bad}))
    assert "image_folder" in error.fix
    assert "data.s" not in error.fix


def test_a_valid_split_that_is_missing_with_train(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path, images("test/cat", "test/dog", size=(32, 32))))
    assert "train/" in data.missing["valid"]
    assert "data.holdout" not in data.missing["valid"]


def test_a_run_on_cifar10(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "c.tar.gz", pickled(cifar10()))
    short = ("--batch-size", "5", "--steps", "2", "--threads", "1", "--set", "plots=false", "--out", tmp_path / "runs")
    model = ("--model", "mlp", "--set", "model.hidden=[4]")
    said = localrules("run", "--rule", "backprop", *model, "--data", "cifar10", "--data-path", path, *short, "--json")
    assert said.code == 0, said.err
    assert said.document["valid_accuracy"] is not None
