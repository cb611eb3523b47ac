"""Atomic files: the old content or the new, never a part of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from localrules.utils.atomic_io import keep_copy, write_atomic


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


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim, target = tmp_path / "victim", tmp_path / "entry.npz"
    victim.write_text("theirs")
    (tmp_path / f".entry-{os.getpid()}.npz").symlink_to(victim)
    write_atomic(target, lambda path: path.write_text("ours"))
    assert victim.read_text() == "theirs"
    assert target.read_text() == "ours"
    assert not target.is_symlink()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
@pytest.mark.parametrize("write", [torch.save, save_file], ids=["torch", "safetensors"])
def test_a_writer_that_the_disk_stops_raises_the_error_of_the_system(tmp_path: Path, write: Callable[..., Any]) -> None:
    import resource

    target, before = tmp_path / "last.pt", resource.getrlimit(resource.RLIMIT_FSIZE)
    state = {"weights": torch.zeros(100_000)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_atomic(target, lambda path: write(state, path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_is_there_already_leaves_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    file.write_text("old")
    keep_copy(file, "previous.pt")
    keep_copy(file, "previous.pt")  # as after a kill between the copy and the new file
    write_atomic(file, "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"last.pt": "new", "previous.pt": "old"}
