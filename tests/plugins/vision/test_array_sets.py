"""SVHN, STL-10, KMNIST, EMNIST and USPS from their usual files, which hold noise here."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.image_trees import write_folder, write_tar, write_zip

from localrules.data.dataset import Dataset
from localrules.errors import LocalRulesError
from localrules_vision.idx_sets import EMNIST, KMNIST, VARIANTS
from localrules_vision.mnist_fingerprints import FOLDERS, KNOWN, Known
from localrules_vision.stl10 import STL10
from localrules_vision.svhn import SVHN
from localrules_vision.usps import USPS

Files = dict[str, bytes]
TRAIN, TEST = 20, 10


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def labels(count: int, start: int = 0) -> np.ndarray:
    return np.arange(count, dtype=np.uint8) % 10 + start


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_files(train: str, test: str, start: int = 0, pack: Callable[[bytes], bytes] = gzip.compress) -> Files:
    files = {}
    for seed, (prefix, count) in enumerate(((train, TRAIN), (test, TEST))):
        files[f"{prefix}-images-idx3-ubyte"] = idx(noise(count, 28, 28, seed=seed))
        files[f"{prefix}-labels-idx1-ubyte"] = idx(labels(count, start))
    return {name + ".gz": pack(content) for name, content in files.items()}


def svhn_files(**changes: Any) -> Files:
    from scipy.io import savemat

    files = {}
    for seed, (name, count) in enumerate((("train", TRAIN), ("test", TEST), ("extra", TEST))):
        # In SVHN the digit 0 has the label 10.
        content = {"X": noise(32, 32, 3, count, seed=seed), "y": labels(count, 1)[:, None]}
        file = io.BytesIO()
        savemat(file, {**content, **(changes if name == "train" else {})})
        files[f"{name}_32x32.mat"] = file.getvalue()
    return files


def stl10_files() -> Files:
    files = {}
    for seed, (name, count) in enumerate((("train", TRAIN), ("test", TEST))):
        files[f"{name}_X.bin"] = noise(count, 3, 96, 96, seed=seed).transpose(0, 1, 3, 2).tobytes()
        files[f"{name}_y.bin"] = labels(count, 1).tobytes()
    return files


def usps_files() -> Files:
    def rows(count: int, seed: int) -> bytes:
        values = noise(count, 256, seed=seed) / 127.5 - 1
        lines = [
            f"{label} " + " ".join(f"{at}:{value:.6f}" for at, value in enumerate(row, start=1))
            for label, row in zip(labels(count, 1), values, strict=True)
        ]
        return bz2.compress("\n".join(lines).encode() + b"\n")

    return {"usps.bz2": rows(TRAIN, 0), "usps.t.bz2": rows(TEST, 1)}


SETS: dict[str, tuple[type, Callable[[], Files], tuple[int, ...]]] = {
    "svhn": (SVHN, svhn_files, (3, 32, 32)),
    "stl10": (STL10, stl10_files, (3, 96, 96)),
    "kmnist": (KMNIST, lambda: idx_files("train", "t10k"), (1, 28, 28)),
    "emnist": (EMNIST, lambda: idx_files("emnist-digits-train", "emnist-digits-test"), (1, 28, 28)),
    "usps": (USPS, usps_files, (1, 16, 16)),
}
VARIANT = {"emnist": {"variant": "digits"}}


def load(source: type, path: Path, **options: object) -> Dataset:
    return source(source.Config(path=path, **VARIANT.get(source.name, {}), **options)).load()


def failure(source: type, path: Path) -> LocalRulesError:
    with pytest.raises(LocalRulesError) as caught:
        load(source, path)
    assert caught.value.exit_code == 2
    assert all(caught.value.as_dict().values())
    return caught.value


@pytest.mark.parametrize("form", ["folder", "archive"])
@pytest.mark.parametrize("name", SETS)
def test_images_and_labels_come_as_they_are_stored(tmp_path: Path, name: str, form: str) -> None:
    source, files, shape = SETS[name]
    everything = {f"inner/{file}": content for file, content in files().items()}
    path = write_folder(tmp_path / "f", everything) if form == "folder" else write_tar(tmp_path / "a.tar", everything)
    data = load(source, path, holdout=0)
    for seed, (split, count) in enumerate((("train", TRAIN), ("test", TEST))):
        expected = torch.from_numpy(noise(count, *shape, seed=seed))
        if name == "svhn":
            expected = torch.from_numpy(noise(32, 32, 3, count, seed=seed)).permute(3, 2, 0, 1)
        if name == "emnist":
            expected = expected.transpose(2, 3)
        difference = (data.splits[split].images.int() - expected.int()).abs().max()
        assert difference <= (1 if name == "usps" else 0)  # torchvision cuts off the fraction
        wanted = labels(count, 1) % 10 if name == "svhn" else labels(count)
        assert data.splits[split].labels.tolist() == wanted.tolist()
    assert len(data.classes) == 10
    assert "unrecognised, 30 samples" in data.origin
    assert "data.holdout" in data.missing["valid"]
    held = load(source, path)
    assert {name: len(split) for name, split in held.splits.items()} == {"train": 10, "valid": 10, "test": 10}


@pytest.mark.parametrize("damage", ["cut", "missing", "garbage", "empty"])
@pytest.mark.parametrize("name", SETS)
def test_a_broken_file_is_an_error_that_names_it(tmp_path: Path, cache: Path, name: str, damage: str) -> None:
    source, make, _ = SETS[name]
    files = make()
    broken = sorted(files)[-1]  # labels, or the train split
    if damage == "missing":
        del files[broken]
    else:
        files[broken] = {"cut": files[broken][:-7], "garbage": b"garbage " * 40, "empty": b""}[damage]
    error = failure(source, write_folder(tmp_path, files))
    named = broken.removesuffix(".gz")
    assert named in (error.why if damage == "missing" else error.where)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"X": np.zeros((3, 3, 3, 20), np.uint8)}, "X of shape (3, 3, 3, 20)"),
        ({"y": np.zeros((7, 1), np.uint8)}, "shape (7,)"),
        ({"X": np.zeros((32, 32, 3, 20))}, "float64"),
        ({"y": np.full((20, 1), 11, np.uint8)}, "the label 11"),
        ({"y": np.full((20, 1), 20, np.uint8)}, "the label 20"),
        ({"y": np.full((20, 1), -1, np.int16)}, "the label -1"),
        ({"y": np.ones((20, 1))}, "y that is float64"),
        ({"y": {"digit": 1}}, "y that is [('digit'"),
    ],
)
def test_wrong_arrays_of_svhn(tmp_path: Path, changes: dict[str, np.ndarray], why: str) -> None:
    assert why in failure(SVHN, write_folder(tmp_path, svhn_files(**changes))).why


def test_svhn_with_its_extra_images(tmp_path: Path) -> None:
    path = write_folder(tmp_path, svhn_files())
    assert len(load(SVHN, path, extra=True, holdout=0).splits["train"]) == TRAIN + TEST
    alone, more = (load(SVHN, path, extra=extra, holdout=10).splits["valid"] for extra in (False, True))
    assert torch.equal(alone.images, more.images)  # not the easier ones of extra


def test_svhn_without_scipy_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_folder(tmp_path, svhn_files())
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert "localrules[mat]" in failure(SVHN, path).fix


def test_letters_of_emnist_count_from_one(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "gzip.zip", idx_files("emnist-letters-train", "emnist-letters-test", start=1))
    data = EMNIST(EMNIST.Config(path=path, variant="letters", holdout=0)).load()
    assert data.classes == tuple("abcdefghijklmnopqrstuvwxyz")
    assert data.splits["test"].labels.tolist() == list(range(10))
    assert [len(VARIANTS[name]) for name in ("balanced", "byclass", "bymerge")] == [47, 62, 47]
    assert "emnist-balanced-train" in failure(EMNIST_BALANCED, path).why


class EMNIST_BALANCED(EMNIST):  # type: ignore[misc]
    name = "emnist_balanced"


def test_the_unlabelled_images_of_stl10(tmp_path: Path) -> None:
    images = noise(3, 3, 96, 96, seed=9)
    path = write_folder(tmp_path, {**stl10_files(), "unlabeled_X.bin": images.transpose(0, 1, 3, 2).tobytes()})
    source = STL10(STL10.Config(path=path))
    assert torch.equal(source.unlabelled(), torch.from_numpy(images))
    (path / "unlabeled_X.bin").write_bytes(b"cut")
    with pytest.raises(LocalRulesError, match="not in the data set's format"):
        source.unlabelled()
    (path / "unlabeled_X.bin").unlink()
    with pytest.raises(LocalRulesError, match="no such data file"):
        source.unlabelled()


VALUES = " ".join(f"{at}:0" for at in range(1, 257))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("1 1:0.5", "1 values"),
        ("x " + "1:0 " * 256, "could not"),
        ("", "no rows"),
        (f"1.5 {VALUES}", "the label 1.5"),
        (f"inf {VALUES}", "the label inf"),
        (f"1e400 {VALUES}", "the label 1e400"),
        (f"1e30 {VALUES}", "labels that are object"),
        (f"11 {VALUES}", "the label 10"),
    ],
)
def test_wrong_rows_of_usps(tmp_path: Path, row: str, why: str) -> None:
    files = {**usps_files(), "usps.t.bz2": bz2.compress(row.encode() + b"\n")}
    assert why in failure(USPS, write_folder(tmp_path, files)).why


@pytest.mark.parametrize("label", ["7", "7.0"])
def test_a_label_of_usps_may_be_written_as_an_exact_integer(tmp_path: Path, label: str) -> None:
    files = {**usps_files(), "usps.t.bz2": bz2.compress(f"{label} {VALUES}\n".encode())}
    assert load(USPS, write_folder(tmp_path, files)).splits["test"].labels.tolist() == [6]


def test_plain_files_of_usps_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {name.removesuffix(".bz2"): bz2.decompress(content) for name, content in usps_files().items()}
    path = write_folder(tmp_path, files)
    assert len(load(USPS, path).splits["test"]) == TEST
    monkeypatch.chdir(path)
    assert USPS.find() is None  # the file usps is not a folder that holds the data


def renamed(files: Files, old: str, new: str) -> Files:
    return {name.replace(old, new): content for name, content in files.items()}


PACKED = {
    "svhn.gz": (SVHN, lambda: {f"{name}.gz": gzip.compress(content) for name, content in svhn_files().items()}),
    "stl10.bz2": (STL10, lambda: {f"{name}.bz2": bz2.compress(content) for name, content in stl10_files().items()}),
    "kmnist.bz2": (KMNIST, lambda: renamed(idx_files("train", "t10k", pack=bz2.compress), ".gz", ".bz2")),
    "kmnist dotted": (KMNIST, lambda: renamed(idx_files("train", "t10k"), "-idx", ".idx")),
    "emnist dotted": (
        EMNIST,
        lambda: renamed(idx_files("emnist-digits-train", "emnist-digits-test"), "-idx", ".idx"),
    ),
    "usps.gz": (
        USPS,
        lambda: {
            name.replace("bz2", "gz"): gzip.compress(bz2.decompress(content)) for name, content in usps_files().items()
        },
    ),
}


@pytest.mark.parametrize("case", PACKED)
def test_each_file_may_be_packed_by_gzip_or_bzip2(tmp_path: Path, case: str) -> None:
    source, files = PACKED[case]
    data = load(source, write_folder(tmp_path, files()), holdout=0)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": TRAIN, "test": TEST}


def test_emnist_is_recognised_by_the_md5_of_its_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_zip(tmp_path / "gzip.zip", idx_files("emnist-digits-train", "emnist-digits-test"))
    assert not load(EMNIST, path).recognised
    monkeypatch.setattr(EMNIST, "md5", (hashlib.md5(path.read_bytes()).hexdigest(),))
    monkeypatch.setattr(EMNIST, "version", 99)  # not from the cache
    assert load(EMNIST, path).recognised


@pytest.mark.parametrize("folder", ["MNIST", "FashionMNIST"])
def test_files_in_a_folder_of_mnist_are_not_those_of_kmnist(tmp_path: Path, folder: str) -> None:
    files = idx_files("train", "t10k")
    root = write_folder(tmp_path / "root", {f"{folder}/raw/{name}": content for name, content in files.items()})
    for path in (root, root / folder / "raw"):
        error = failure(KMNIST, path)
        assert f"files in {folder}/" in error.what
        assert error.fix.startswith(f"choose --data {FOLDERS[folder.lower()]}")
    inner = write_folder(tmp_path / folder / "KMNIST", files)
    assert load(KMNIST, inner).name == "kmnist"


@pytest.mark.parametrize("what", ["labels", "images"])
def test_mnist_is_not_loaded_as_kmnist_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    image = hashlib.blake2b(noise(TEST, 28, 28, seed=1)[3].tobytes(), digest_size=16).hexdigest()[:16]
    own_labels = hashlib.blake2b(labels(TEST).tobytes(), digest_size=8).hexdigest()
    known = Known(images="", labels=own_labels) if what == "labels" else Known(images=image, labels="")
    monkeypatch.setitem(KNOWN, "fashion_mnist", known)
    error = failure(KMNIST, write_folder(tmp_path, idx_files("train", "t10k")))
    assert error.what == f"the {what} are those of fashion_mnist, not of kmnist"
    assert "--data fashion_mnist" in error.fix
