"""MNIST and Fashion-MNIST from the files in which people have them. The images here are noise of our own."""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.isolated_data import cache  # noqa: F401
from helpers.tiny_runs import localrules

from localrules.data.dataset import Dataset, Split
from localrules.data.duplicates import image_keys
from localrules.errors import DataError, UsageError
from localrules_vision import mnist_fingerprints
from localrules_vision.mnist import MNIST, FashionMNIST
from localrules_vision.mnist_fingerprints import KNOWN, Known

Arrays = dict[str, np.ndarray]
PUBLISHED = {name: os.environ.get(f"LOCALRULES_{name.upper()}") for name in ("mnist", "fashion_mnist")}


@pytest.fixture
def arrays() -> Arrays:
    draw = np.random.default_rng(0)
    return {
        "x_train": draw.integers(0, 256, (20, 28, 28), dtype=np.uint8),
        "y_train": draw.integers(0, 10, 20, dtype=np.uint8),
        "x_test": draw.integers(0, 256, (8, 28, 28), dtype=np.uint8),
        "y_test": draw.integers(0, 10, 8, dtype=np.uint8),
    }


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder: Path, arrays: Arrays, dot: bool = False, packed: bool = False) -> Path:
    for key, name in {
        "x_train": "train-images-idx3-ubyte",
        "y_train": "train-labels-idx1-ubyte",
        "x_test": "t10k-images-idx3-ubyte",
        "y_test": "t10k-labels-idx1-ubyte",
    }.items():
        content = gzip.compress(idx(arrays[key])) if packed else idx(arrays[key])
        (folder / ((name.replace("-idx", ".idx") if dot else name) + (".gz" if packed else ""))).write_bytes(content)
    return folder


def load(path: Path | None, **options: int) -> Dataset:
    return MNIST(MNIST.Config(path=path, **options)).load()


def failure(path: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        load(path)
    assert caught.value.exit_code == 2
    assert all(caught.value.as_dict().values())
    return caught.value


def assert_whole(data: Dataset, arrays: Arrays) -> None:
    assert list(data.splits) == ["train", "test"]
    for name, split in data.splits.items():
        assert torch.equal(split.images, torch.from_numpy(arrays[f"x_{name}"]).unsqueeze(1))
        assert split.labels.tolist() == arrays[f"y_{name}"].tolist()
        assert split.labels.dtype == torch.int64


def test_an_npz_file(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    data = load(tmp_path / "mnist.npz")
    assert_whole(data, arrays)
    assert data.shape == (1, 28, 28)
    assert data.redistributable
    assert not data.flip_preserves_label
    assert "unrecognised, 20 train and 8 test samples" in data.origin
    assert_whole(load(tmp_path), arrays)  # the folder that holds it


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", [False, True])
def test_four_idx_files(tmp_path: Path, arrays: Arrays, dot: bool, packed: bool) -> None:
    write_idx(tmp_path, arrays, dot, packed)
    assert_whole(load(tmp_path), arrays)
    assert_whole(load(next(tmp_path.iterdir())), arrays)  # any one of them


def test_other_files_beside_the_data_do_not_count(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "predictions.npz", p=np.zeros(3))
    (tmp_path / "._digits.npz").write_bytes(b"of macOS")
    assert len(load(write_idx(tmp_path, arrays)).splits["test"]) == 8
    other = tmp_path / "other"
    other.mkdir()
    np.savez(other / "digits.npz", **arrays)
    (other / "._digits.npz").write_bytes(b"of macOS")
    assert len(load(other).splits["test"]) == 8


def test_both_forms_have_the_same_fingerprint(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    (tmp_path / "idx").mkdir()
    assert load(tmp_path / "mnist.npz").fingerprint == load(write_idx(tmp_path / "idx", arrays)).fingerprint


def test_there_is_no_valid_split_unless_rows_are_held_out(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    plain = load(tmp_path / "mnist.npz")
    with pytest.raises(DataError) as caught:
        plain.split("valid")
    assert "data.holdout" in caught.value.fix
    data = load(tmp_path / "mnist.npz", holdout=5)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 15, "valid": 5, "test": 8}
    assert data.splits["valid"].labels.tolist() == arrays["y_train"][15:].tolist()
    assert "last 5 train samples" in data.origin
    assert data.fingerprint != plain.fingerprint


def test_holding_out_everything_is_wrong_use(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(UsageError, match="more samples are held out"):
        load(tmp_path / "mnist.npz", holdout=20)


def test_fashion_has_its_own_names_and_may_be_flipped(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "f.npz", **arrays)
    data = FashionMNIST(FashionMNIST.Config(path=tmp_path / "f.npz")).load()
    assert data.name == "fashion_mnist"
    assert len(data.classes) == 10
    assert data.flip_preserves_label


def known(arrays: Arrays) -> Known:
    """The fingerprints of arrays, as if these had been published."""
    splits = [Split(torch.from_numpy(arrays[f"x_{name}"])[:8], torch.zeros(8)) for name in ("train", "test")]
    labels = [hashlib.blake2b(arrays[f"y_{name}"].tobytes(), digest_size=8).hexdigest() for name in ("train", "test")]
    keys = [key.hex()[:16] for split in splits for key in image_keys(split)]
    return Known(" ".join(keys), " ".join(labels))


@pytest.mark.parametrize("form", ["as published", "shuffled", "test only", "images only", "labels only"])
def test_another_data_set_is_recognised_and_both_are_named(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    draw = np.random.default_rng(1)
    others = {name: draw.permutation(array.ravel()).reshape(array.shape) for name, array in arrays.items()}
    monkeypatch.setitem(KNOWN, "fashion_mnist", known(others))
    monkeypatch.setitem(KNOWN, "mnist", known(arrays))
    order = draw.permutation(20)
    given = {
        "as published": others,
        "shuffled": {**others, "x_train": others["x_train"][order], "y_train": others["y_train"][order]},
        "test only": {**arrays, "x_test": others["x_test"], "y_test": others["y_test"]},
        "images only": {**arrays, "x_train": others["x_train"]},
        "labels only": {**arrays, "y_train": others["y_train"]},
    }[form]
    np.savez(tmp_path / "mnist.npz", **given)
    error = failure(tmp_path / "mnist.npz")
    assert error.what.endswith("are those of fashion_mnist, not of mnist")
    assert "--data fashion_mnist" in error.fix
    np.savez(tmp_path / "mnist.npz", **arrays)
    assert_whole(load(tmp_path / "mnist.npz"), arrays)
    with pytest.raises(DataError, match="are those of mnist, not of fashion_mnist"):
        FashionMNIST(FashionMNIST.Config(path=tmp_path / "mnist.npz")).load()


@pytest.mark.parametrize("source", [MNIST, FashionMNIST])
def test_the_files_of_kmnist_are_refused(
    tmp_path: Path, arrays: Arrays, monkeypatch: pytest.MonkeyPatch, source: type
) -> None:
    """They have the names of MNIST's files."""
    raw = tmp_path / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    write_idx(raw, arrays, packed=True)
    for path in (raw, raw.parent):
        with pytest.raises(DataError, match="one of KMNIST's") as caught:
            source(source.Config(path=path)).load()
        assert "--data kmnist" in caught.value.fix
    (raw / "mnist").mkdir()
    write_idx(raw / "mnist", arrays, packed=True)
    assert_whole(source(source.Config(path=raw / "mnist")).load(), arrays)
    md5 = hashlib.md5((raw / "mnist" / "t10k-labels-idx1-ubyte.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(mnist_fingerprints, "KMNIST_FILES", (md5,))
    with pytest.raises(DataError, match="one of KMNIST's") as caught:
        source(source.Config(path=raw / "mnist")).load()
    assert "its md5" in caught.value.why


@pytest.mark.skipif(not all(PUBLISHED.values()), reason="LOCALRULES_MNIST and LOCALRULES_FASHION_MNIST are not set")
def test_the_published_files_are_told_apart() -> None:
    for source, other in ((MNIST, FashionMNIST), (FashionMNIST, MNIST)):
        path = Path(str(PUBLISHED[source.name]))
        assert source(source.Config(path=path)).load().origin.endswith("the original")
        with pytest.raises(DataError, match=f"are those of {source.name}, not of {other.name}"):
            other(other.Config(path=path)).load()


@pytest.mark.parametrize("place", ["mnist.npz", "data/mnist.npz"])
def test_the_usual_places_are_searched(place: str, arrays: Arrays) -> None:
    assert MNIST.find() is None
    Path(place).parent.mkdir(exist_ok=True)
    np.savez(place, **arrays)
    assert MNIST.find() == Path(place)
    assert_whole(load(None), arrays)


def test_torchvisions_folder_is_found(arrays: Arrays) -> None:
    Path("data/MNIST/raw").mkdir(parents=True)
    write_idx(Path("data/MNIST/raw"), arrays)
    assert_whole(load(None), arrays)


@pytest.mark.parametrize("named", [".", "MNIST"])
def test_torchvisions_root_may_be_named(tmp_path: Path, arrays: Arrays, named: str) -> None:
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "FashionMNIST" / "raw").mkdir(parents=True)
    write_idx(tmp_path / "MNIST" / "raw", arrays)
    data = load(tmp_path / named)
    assert_whole(data, arrays)
    assert data.origin.startswith(str(tmp_path / "MNIST" / "raw"))


def test_a_folder_with_both_data_sets(tmp_path: Path, arrays: Arrays) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    np.savez(tmp_path / "fashion_mnist.npz", **{**arrays, "y_test": arrays["y_test"][::-1]})
    assert_whole(load(tmp_path), arrays)
    fashion = FashionMNIST(FashionMNIST.Config(path=tmp_path)).load()
    assert fashion.splits["test"].labels.tolist() == arrays["y_test"][::-1].tolist()


def test_nothing_given_and_nothing_found_says_how_to_get_it() -> None:
    with pytest.raises(DataError, match="mnist was not found") as caught:
        load(None)
    assert "--data-path" in caught.value.fix
    assert "LOCALRULES_MNIST" in caught.value.fix


def test_bad_archives(tmp_path: Path, arrays: Arrays) -> None:
    path = tmp_path / "mnist.npz"
    assert "no such" in failure(path).what
    for content in (b"", b"not a zip archive"):
        path.write_bytes(content)
        assert "no .npz archive" in failure(path).why
    np.savez(path, **{name: array for name, array in arrays.items() if name != "y_test"})
    assert "x_train, y_train, x_test and y_test" in failure(path).why
    np.savez(path, **arrays)
    content = bytearray(path.read_bytes())
    content[3000] ^= 0xFF
    path.write_bytes(content)
    assert "damaged" in failure(path).what
    path.write_bytes(content[:-100])
    failure(path)
    np.savez(path, **{**arrays, "x_test": np.array([object()])})
    assert "damaged" in failure(path).what  # never unpickled


@pytest.mark.parametrize(("at", "value"), [(6, 1), (8, 99)])
def test_an_encrypted_array_or_one_of_an_unknown_compression(
    tmp_path: Path, arrays: Arrays, at: int, value: int
) -> None:
    np.savez(tmp_path / "mnist.npz", **arrays)
    content = bytearray((tmp_path / "mnist.npz").read_bytes())
    for mark, shift in ((b"PK\x03\x04", 0), (b"PK\x01\x02", 2)):  # the flags and the method, of a file and in the list
        start = content.find(mark)
        content[start + at + shift] = value
    (tmp_path / "mnist.npz").write_bytes(content)
    assert "damaged or encrypted" in failure(tmp_path / "mnist.npz").what


@pytest.mark.parametrize(
    ("name", "wrong", "found"),
    [
        ("x_train", np.zeros((20, 27, 28), np.uint8), "(20, 27, 28)"),
        ("x_train", np.zeros((20, 28, 28), np.float32), "float32"),
        ("x_train", np.zeros((0, 28, 28), np.uint8), "no samples"),
        ("y_train", np.zeros(19, np.uint8), "(19,)"),
        ("y_train", np.zeros(20), "float64"),
        ("y_test", np.array([0, 1, 2, 10, 4, 5, 6, 7]), "label 10"),
        ("y_test", np.array([0, 1, 2, -1, 4, 5, 6, 7]), "label -1"),
    ],
)
def test_wrong_arrays_are_named(tmp_path: Path, arrays: Arrays, name: str, wrong: np.ndarray, found: str) -> None:
    np.savez(tmp_path / "mnist.npz", **{**arrays, name: wrong})
    error = failure(tmp_path / "mnist.npz")
    assert name in error.where
    assert found in error.why
    assert "expected" in error.why


def test_bad_idx_files(tmp_path: Path, arrays: Arrays) -> None:
    write_idx(tmp_path, arrays)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    whole = images.read_bytes()
    for content, said in [
        (whole[:-1], "15,695 bytes"),
        (whole + b"x", "15,697 bytes"),
        (whole[:6], "IDX file"),
        (labels.read_bytes(), "IDX file"),
        (b"garbage", "garb"),
    ]:
        images.write_bytes(content)
        error = failure(tmp_path)
        assert str(images) in error.where
        assert said in error.why
    images.write_bytes(b"")
    assert "empty" in failure(tmp_path).what
    images.unlink()
    assert "lacks" in failure(tmp_path).what
    assert images.name in failure(tmp_path).why
    packed = gzip.compress(whole)
    images.with_name(images.name + ".gz").write_bytes(packed[:-30])
    assert "cut short" in failure(tmp_path).what


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_path_that_cannot_be_looked_up_is_an_error_of_the_user(name: str) -> None:
    said = localrules("data", "show", name, "--data-path", "a" * 300)
    assert said.code == 2
    assert "File name too long" in said.err
