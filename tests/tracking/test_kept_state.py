"""State of trackers that a run keeps even if it is killed before its first checkpoint."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from localrules.tracking.kept_state import FILE, keep_now, read_kept


def test_entries_are_in_the_state_and_in_the_folder_at_once(tmp_path: Path) -> None:
    run = SimpleNamespace(directory=tmp_path, state={"other": 1})
    keep_now(run, "one_id", "abc")  # type: ignore[arg-type]
    keep_now(run, "two_id", 7)  # type: ignore[arg-type]
    assert run.state == {"other": 1, "one_id": "abc", "two_id": 7}
    assert read_kept(tmp_path) == {"one_id": "abc", "two_id": 7}


@pytest.mark.parametrize("text", [None, "", "{", "[1]"])
def test_a_folder_without_the_file_or_with_a_damaged_one_keeps_nothing(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / FILE).write_text(text)
    assert read_kept(tmp_path) == {}
