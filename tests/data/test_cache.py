"""Decoded data is kept, and what is kept can never be wrong."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from localrules.data.cache import directory, load_or_build
from localrules_fer.datasets import fer2013
from localrules_fer.datasets.fer2013 import FER2013


def rows(*greys: int) -> str:
    lines = [f"3,{' '.join([str(grey)] * 2304)},Training" for grey in greys]
    return "\n".join(["emotion,pixels,Usage", *lines]) + "\n"


def first_pixels(path: Path) -> list[int]:
    images = FER2013(FER2013.Config(path=path)).load().splits["train"].images
    return [int(grey) for grey in images[:, 0, 0, 0]]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Which files were decoded from text."""
    calls: list[Path] = []
    real = fer2013.read_csv
    monkeypatch.setattr(fer2013, "read_csv", lambda path: (calls.append(path), real(path))[1])
    return calls


def test_a_file_is_decoded_once(tmp_path: Path, decoded: list[Path], cache: Path) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(rows(10, 20))
    assert first_pixels(path) == first_pixels(path) == [10, 20]
    assert len(decoded) == 1
    assert [entry.suffix for entry in cache.iterdir()] == [".npz"]  # and no temporary file


def test_a_changed_file_is_decoded_again_even_with_the_same_size_and_time(tmp_path: Path, decoded: list[Path]) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(rows(10, 20))
    before = path.stat()
    assert first_pixels(path) == [10, 20]
    path.write_text(rows(10, 30))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert first_pixels(path) == [10, 30]
    assert len(decoded) == 2


def test_a_moved_file_is_recognised(tmp_path: Path, decoded: list[Path]) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(rows(10))
    first_pixels(path)
    assert first_pixels(path.rename(tmp_path / "elsewhere.csv")) == [10]
    assert len(decoded) == 1


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "garbage"])
def test_a_damaged_entry_is_made_anew_without_a_word(
    tmp_path: Path, decoded: list[Path], cache: Path, damage: str
) -> None:
    path = tmp_path / "fer2013.csv"
    path.write_text(rows(10, 20))
    first_pixels(path)
    (entry,) = cache.iterdir()
    content = bytearray(entry.read_bytes())
    if damage == "flipped":
        content[1000] ^= 0xFF
    entry.write_bytes({"truncated": content[:-500], "flipped": content, "empty": b"", "garbage": b"x" * 999}[damage])
    assert first_pixels(path) == [10, 20]
    assert len(decoded) == 2
    assert first_pixels(path) == [10, 20]
    assert len(decoded) == 2


def test_whichever_byte_is_damaged_the_entry_is_made_anew(cache: Path) -> None:
    def make() -> dict[str, np.ndarray]:
        return {"g": np.arange(3)}

    load_or_build("kind", "key", make)
    (entry,) = cache.iterdir()
    content = entry.read_bytes()
    for place in range(len(content)):
        for change in (0x01, 0x80, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= change
            entry.write_bytes(damaged)
            assert list(load_or_build("kind", "key", make)) == ["g"]


def test_a_cache_that_cannot_be_written_only_warns(
    tmp_path: Path, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    monkeypatch.setenv("LOCALRULES_CACHE", str(tmp_path / "taken"))
    path = tmp_path / "fer2013.csv"
    path.write_text(rows(10))
    for _ in range(2):
        with pytest.warns(UserWarning, match="could not be kept.*LOCALRULES_CACHE"):
            assert first_pixels(path) == [10]
    assert len(decoded) == 2


def test_the_cache_lies_with_the_users_caches_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCALRULES_CACHE")
    assert "localrules" in str(directory())
    monkeypatch.setenv("LOCALRULES_CACHE", "/somewhere/else")
    assert directory() == Path("/somewhere/else")


def test_arrays_come_back_as_they_were(cache: Path) -> None:
    arrays = {"a": np.arange(6, dtype=np.uint8).reshape(2, 3), "b": np.array([1, 2], dtype=np.int64)}
    load_or_build("kind", "key", lambda: arrays)
    again = load_or_build("kind", "key", dict)
    assert again.keys() == arrays.keys()
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype
        assert (again[name] == array).all()
