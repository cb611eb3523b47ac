"""Atomic files: the old content or the new, never a part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from localrules.utils.atomic_io import write_atomic


def test_text_bytes_and_writer_functions_are_written(tmp_path: Path) -> None:
    write_atomic(tmp_path / "text", "é\n")
    write_atomic(tmp_path / "bytes", b"\x00\x01")
    write_atomic(tmp_path / "called.png", lambda path: path.write_bytes(path.suffix.encode()))
    assert (tmp_path / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\x01"
    assert (tmp_path / "called.png").read_bytes() == b".png"


def test_a_writer_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.bin"
    write_atomic(target, b"old")

    def fail(path: Path) -> None:
        path.write_bytes(b"half of the ne")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_atomic(target, fail)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
