"""FER2013 in each of the forms in which people have it. The images here are noise of our own."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from localrules.data.dataset import Dataset
from localrules.errors import DataError
from localrules_fer.datasets import fer2013
from localrules_fer.datasets.fer2013 import FER2013
from localrules_fer.datasets.fer2013_csv import pixels

USAGES = ["Training"] * 6 + ["PublicTest"] * 3 + ["PrivateTest"] * 2
LABELS = [0, 1, 2, 3, 4, 5, 6, 0, 3, 4, 6]
SPLIT_SIZES = {"train": 6, "valid": 3, "test": 2}


@pytest.fixture
def faces() -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (11, 2304), dtype=np.uint8)
    images[0] = 0
    images[1] = 255
    images[2, :3] = (0, 7, 42)
    return images


def text(faces: np.ndarray, columns: str = "emotion,pixels,Usage", end: str = "\n") -> str:
    lines = [columns]
    for face, label, usage in zip(faces, LABELS, USAGES, strict=True):
        cells = {"emotion": str(label), "pixels": " ".join(map(str, face)), "usage": usage}
        lines.append(",".join(cells[name.strip().lower()] for name in columns.split(",")))
    return end.join(lines) + end


def load(path: Path | None = None) -> Dataset:
    return FER2013(FER2013.Config(path=path)).load()


def assert_whole(data: Dataset, faces: np.ndarray) -> None:
    assert {name: len(split) for name, split in data.splits.items()} == SPLIT_SIZES
    images = torch.cat([data.splits[name].images for name in SPLIT_SIZES])
    assert images.dtype == torch.uint8
    assert torch.equal(images, torch.from_numpy(faces).view(11, 1, 48, 48))
    assert torch.cat([data.splits[name].labels for name in SPLIT_SIZES]).tolist() == LABELS
    assert data.classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert data.redistributable is False
    assert data.flip_preserves_label is True


def test_kaggles_file(tmp_path: Path, faces: np.ndarray) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(text(faces))
    data = load(path)
    assert_whole(data, faces)
    assert data.origin == f"{path}: unrecognised, 11 samples"


def test_gzipped_with_other_columns_line_ends_and_a_byte_order_mark(tmp_path: Path, faces: np.ndarray) -> None:
    content = "\ufeff" + text(faces, "emotion, Usage, pixels", "\r\n") + "\r\n"
    path = tmp_path / "icml_face_data.csv.gz"
    path.write_bytes(gzip.compress(content.encode()))
    assert_whole(load(path), faces)


@pytest.mark.slow
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("index", [None, "", "Unnamed: 0", "index", "id"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_what_spreadsheets_and_pandas_write(
    tmp_path: Path, faces: np.ndarray, delimiter: str, index: str | None, encoding: str
) -> None:
    lines = text(faces).splitlines()
    if index is not None:
        lines = [f"{index if not number else number - 1},{line}" for number, line in enumerate(lines)]
    content = "\n".join(lines).replace(",", delimiter)
    path = tmp_path / "fer2013.csv"
    path.write_bytes((("\ufeff" if encoding == "utf-16-be" else "") + content).encode(encoding))
    assert_whole(load(path), faces)


def test_the_same_images_have_the_same_fingerprint_in_every_form(tmp_path: Path, faces: np.ndarray) -> None:
    (tmp_path / "a.csv").write_text(text(faces))
    (tmp_path / "b.csv").write_text(text(faces, "emotion, Usage, pixels"))
    (tmp_path / "c.csv").write_text(text(faces[::-1]))
    first, second, third = (load(tmp_path / name).fingerprint for name in ("a.csv", "b.csv", "c.csv"))
    assert first == second != third


def test_the_original_is_recognised_by_the_md5_of_its_unpacked_text(
    tmp_path: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = text(faces).encode()
    monkeypatch.setitem(fer2013.KNOWN, hashlib.md5(content).hexdigest(), "the original")
    path = tmp_path / "fer2013.csv.gz"
    path.write_bytes(gzip.compress(content))
    assert load(path).origin == f"{path}: the original"
    assert load(path).recognised
    assert load(path).origin == f"{path}: the original"  # from the cache too


@pytest.mark.parametrize("form", ["file", "folder"])
def test_other_files_are_recognised_by_the_counts_of_their_splits(
    tmp_path: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """``icml_face_data.csv`` and folders of images hold the published samples, but not the published bytes."""
    if form == "file":
        (tmp_path / "fer2013.csv").write_text(text(faces))
    else:
        for number, (face, label, usage) in enumerate(zip(faces, LABELS, USAGES, strict=True)):
            path = tmp_path / usage / str(label) / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(face.reshape(48, 48)).save(path)
    assert not load(tmp_path).recognised
    monkeypatch.setattr(fer2013, "PUBLISHED", SPLIT_SIZES)
    assert load(tmp_path).recognised
    monkeypatch.setattr(fer2013, "PUBLISHED", {**SPLIT_SIZES, "test": 3})
    assert not load(tmp_path).recognised


def test_train_csv_is_the_train_split_only(tmp_path: Path, faces: np.ndarray) -> None:
    (tmp_path / "train.csv").write_text(text(faces, "emotion,pixels"))
    data = load(tmp_path / "train.csv")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 11}
    with pytest.raises(DataError, match="no 'valid' split") as caught:
        data.split("valid")
    assert "PublicTest" in caught.value.fix


def test_a_split_that_the_file_lacks_is_missed_only_when_asked_for(tmp_path: Path, faces: np.ndarray) -> None:
    lines = text(faces).splitlines()
    (tmp_path / "fer2013.csv").write_text("\n".join(line for line in lines if not line.endswith("PrivateTest")))
    data = load(tmp_path / "fer2013.csv")
    assert sorted(data.splits) == ["train", "valid"]
    with pytest.raises(DataError) as caught:
        data.split("test")
    assert "PrivateTest" in caught.value.fix
    assert "f8428a1edbd21e88f42c73edd2a14f95" in caught.value.fix


def test_a_folder_that_holds_the_file(tmp_path: Path, faces: np.ndarray) -> None:
    (tmp_path / "fer2013.csv").write_text(text(faces))
    assert_whole(load(tmp_path), faces)


@pytest.mark.parametrize("inside", ["fer2013", "archive/fer2013", "data/archive/fer2013"])
def test_a_folder_around_the_folder_that_holds_the_file(tmp_path: Path, faces: np.ndarray, inside: str) -> None:
    """So archives are unpacked; ``<root>/fer2013/fer2013.csv`` is torchvision's layout too."""
    (tmp_path / inside).mkdir(parents=True)
    (tmp_path / inside / "fer2013.csv").write_text(text(faces))
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    data = load(tmp_path)
    assert_whole(data, faces)
    assert data.origin.startswith(str(tmp_path / inside / "fer2013.csv"))


def test_the_most_complete_file_is_taken_and_the_others_are_named(tmp_path: Path, faces: np.ndarray) -> None:
    (tmp_path / "fer2013.csv").write_text(text(faces))
    (tmp_path / "train.csv").write_text(text(faces, "emotion,pixels"))
    data = load(tmp_path)
    assert_whole(data, faces)
    assert data.origin.endswith("train.csv beside it is not read")


def test_pixels_with_odd_spacing_are_read_as_numbers() -> None:
    words = [str(i % 256) for i in range(2304)]
    expected = np.array(words, dtype=np.uint8)
    assert (pixels(" ".join(words).encode()) == expected).all()
    assert (pixels(("  ".join(words) + " ").encode()) == expected).all()
    assert (pixels(("0007 " + " ".join(words[1:])).encode())[1:] == expected[1:]).all()


def test_the_decoder_agrees_with_a_slow_one_on_many_samples() -> None:
    draw = np.random.default_rng(1)
    for _ in range(50):
        sample = draw.integers(0, draw.integers(2, 257), 2304)
        assert (pixels(" ".join(map(str, sample)).encode()) == sample).all()


# Where it is looked for


def test_nothing_given_and_nothing_found_says_how_to_get_it() -> None:
    assert FER2013.find() is None
    with pytest.raises(DataError, match="was not found") as caught:
        load()
    assert "--data-path" in caught.value.fix
    assert "--data faces" in caught.value.fix


@pytest.mark.parametrize("place", ["fer2013.csv", "data/fer2013.csv.gz", "icml_face_data.csv"])
def test_the_usual_places_are_searched(place: str, faces: np.ndarray) -> None:
    path = Path(place)
    path.parent.mkdir(exist_ok=True)
    content = text(faces).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    assert FER2013.find() == path
    assert_whole(load(), faces)


def test_a_folder_that_is_merely_called_like_it_is_passed_over(faces: np.ndarray) -> None:
    Path("fer2013").mkdir()
    (Path("fer2013") / "notes.txt").touch()
    assert FER2013.find() is None
    path = Path("data") / "fer2013" / "fer2013.csv"
    path.parent.mkdir(parents=True)
    path.write_text(text(faces))
    assert FER2013.find() == path.parent
    assert_whole(load(), faces)


def test_the_environment_variable_comes_first(
    tmp_path: Path, faces: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("fer2013.csv").write_text("not this one")
    (tmp_path / "mine.csv").write_text(text(faces))
    monkeypatch.setenv("LOCALRULES_FER2013", str(tmp_path / "mine.csv"))
    assert FER2013.find() == tmp_path / "mine.csv"
    assert_whole(load(), faces)
    monkeypatch.setenv("LOCALRULES_FER2013", str(tmp_path / "gone.csv"))
    with pytest.raises(DataError, match="no such data file"):
        load()
