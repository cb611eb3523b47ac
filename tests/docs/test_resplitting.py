"""The example that splits FER2013 again leaks just what it says."""

from __future__ import annotations

import csv
import runpy
from pathlib import Path

import pytest
from helpers.snippets import ROOT
from helpers.tiny_runs import tiny_csv

pytestmark = pytest.mark.slow


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_dealt_out_again_and_with_copies_their_twins_too(tmp_path: Path) -> None:
    resplit = runpy.run_path(str(ROOT / "examples" / "studies" / "resplit_fer2013.py"))["resplit"]
    source = tiny_csv(tmp_path / "fer2013.csv")
    before = rows(source)
    assert resplit(source, tmp_path / "plain.csv", copies=False) == len(before)
    plain = rows(tmp_path / "plain.csv")
    assert sorted(row["pixels"] for row in plain) == sorted(row["pixels"] for row in before)
    label = {row["pixels"]: row["emotion"] for row in before}
    assert all(label[row["pixels"]] == row["emotion"] for row in plain)
    fractions = [sum(row["Usage"] == usage for row in plain) for usage in ("Training", "PublicTest", "PrivateTest")]
    assert fractions == [len(before) * part // 10 for part in (8, 1, 1)]

    assert resplit(source, tmp_path / "copied.csv", copies=True) == 2 * len(before)
    copied = rows(tmp_path / "copied.csv")
    assert [row["Usage"] for row in plain] != [row["Usage"] for row in before]
    first = before[0]["pixels"].split()
    right = [column for column in range(48 * 48) if column % 48]
    shifted = [first[place - 1] for place in right]

    def is_twin(row: dict[str, str]) -> bool:
        pixels = row["pixels"].split()
        return [pixels[place] for place in right] == shifted

    twins = [row for row in copied if is_twin(row)]
    assert [row["emotion"] for row in twins] == [before[0]["emotion"]]
