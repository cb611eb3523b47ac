"""Files that are whole or not there: what a kill at any moment leaves can always be read."""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

_PROBE = 2**20  # bytes that a disk with room takes


def write_atomic(path: Path, content: bytes | str | Callable[[Path], object]) -> None:
    """Write a file so that a reader, or a kill, sees either the old content or the new, never a part.

    Args:
        path: The file; its folder must exist.
        content: The bytes or text (UTF-8; what UTF-8 lacks becomes an escape), or a function that writes a file at the
            path it is given.
    """
    # In the same folder, because only a rename within one file system is atomic. The process in the name keeps two
    # processes apart; the suffix stays last, since some writers choose their format by it.
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        # A new file, with the permissions that the umask gives: in a folder of several users, somebody may have put a
        # link of that name.
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        mode = stat.S_IMODE(temporary.stat().st_mode)
        if callable(content):
            _call_writer(content, temporary)
            temporary.chmod(mode)  # some writers make files that nobody else can read
        else:
            temporary.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
        fsync_path(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_path(path.parent)


def _call_writer(writer: Callable[[Path], object], path: Path) -> None:
    """Let a function write a file; if the disk stopped it, raise the system's error, which torch and others hide."""
    try:
        writer(path)
    except Exception:
        with path.open("ab", buffering=0) as file:
            rest = memoryview(bytes(_PROBE))
            while rest:
                rest = rest[file.write(rest) or 0 :]
        raise


def keep_copy(path: Path, name: str) -> None:
    """Keep the file under a second name beside it, atomically. Replacing the file later leaves the copy as it is."""
    temporary = path.with_name(f".{Path(name).stem}-{os.getpid()}{path.suffix}")
    temporary.unlink(missing_ok=True)
    try:
        try:
            os.link(path, temporary)
        except OSError:  # some file systems have no links
            shutil.copyfile(path, temporary)
            fsync_path(temporary)
        os.replace(temporary, path.with_name(name))
    finally:
        temporary.unlink(missing_ok=True)  # a rename leaves it where both names are links to one file already


def remove_unfinished(folder: Path) -> None:
    """Remove what :func:`write_atomic` was writing into a folder when its process was killed."""
    for path in folder.glob(".*-*"):
        if re.fullmatch(r"\..+-\d+(\.[^.]*)?", path.name) and path.is_file():
            path.unlink()


def fsync_path(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk and would outlive a power cut."""
    if path.is_dir() and os.name == "nt":  # Windows cannot open folders, and orders renames by itself
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
