"""Which images are meant by files and folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrules.errors import DataError
from localrules.prediction.images import list_images


def test_a_folder_stands_for_its_images_by_name(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "c.webp", "notes.txt", ".hidden.png", "._a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "inside").mkdir()
    images, others = list_images([tmp_path, tmp_path / "notes.txt"])
    assert [path.name for path in images] == ["a.jpg", "b.PNG", "c.webp", "notes.txt"]
    assert [path.name for path in others] == ["notes.txt"]


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list_images([tmp_path])
    assert caught.value.why == "it is empty"
    (tmp_path / "inside").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(DataError) as caught:
        list_images([tmp_path])
    assert caught.value.why == "it holds inside/, notes.txt"
    assert "inside it" in caught.value.fix
