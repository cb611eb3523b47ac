"""Reading data files, plain or gzipped, with errors that name the file and say what to do."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from localrules.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
ARCHIVES = {
    b"PK": "a zip archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
}
"""What a file is that begins like that; none of them is unpacked here."""
TAR_MAGIC, TAR_OFFSET = b"ustar", 257
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tgz", ".tar.gz", ".7z", ".rar", ".bz2", ".xz", ".zst")
UNPACK = "unpack it first, and name the file or folder that comes out of it"
FEW_FILES, SMALL_SIZE = 1000, 1 << 30
AGAIN = "download or unpack the file again, and compare its size with the source's"


@contextmanager
def open_maybe_gzip(path: Path) -> Iterator[BinaryIO]:
    """The content of a file, unpacked when it is gzipped (whatever its name says).

    Raises:
        DataError: The file is missing, empty, unreadable, cut short, an archive (zip, tar, gzipped tar and others), or
            called ``.gz`` without being one.
    """
    try:
        with path.open("rb") as raw:
            start = raw.read(TAR_OFFSET + len(TAR_MAGIC))
            raw.seek(0)
            magic = start[:2]
            if not magic:
                raise DataError("the data file is empty", where=str(path), why="it has 0 bytes", fix=AGAIN)
            _refuse_archive(path, start)
            if magic == GZIP_MAGIC:
                with gzip.open(raw) as unpacked:
                    _refuse_archive(path, unpacked.read(TAR_OFFSET + len(TAR_MAGIC)))
                    unpacked.seek(0)
                    yield unpacked  # type: ignore[misc]
            elif path.suffix == ".gz":
                raise DataError(
                    "the data file is not a gzip file",
                    where=str(path),
                    why=f"its name ends in .gz, but it begins with {magic!r} and not with {GZIP_MAGIC!r}",
                    fix=f"rename it without .gz if it is plain, else {AGAIN}",
                )
            else:
                yield raw
    except EOFError as error:
        raise DataError(
            "the gzipped data file is cut short", where=str(path), why="it ends before its end mark", fix=AGAIN
        ) from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise DataError("the gzipped data file is damaged", where=str(path), why=str(error), fix=AGAIN) from error
    except OSError as error:
        raise read_error(path, error) from error


def _refuse_archive(path: Path, start: bytes) -> None:
    """Raise if what begins like that is an archive, or compressed otherwise than by gzip."""
    kind = next((kind for magic, kind in ARCHIVES.items() if start.startswith(magic)), None)
    if start[TAR_OFFSET:].startswith(TAR_MAGIC):
        kind = "a tar archive"
    if kind is not None:
        raise DataError(
            f"the data file is {kind}", where=str(path), why=f"its content begins with {start[:6]!r}", fix=UNPACK
        )


def read_error(path: Path, error: OSError) -> DataError:
    """The error for a path that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return DataError(
            "there is no such data file",
            where=str(path),
            why=f"the path was looked up from {path.parent.resolve()}",
            fix="check --data-path (or the environment variable that names it)",
        )
    return DataError(
        "the data file cannot be read", where=str(path), why=error.strerror or str(error), fix="check its permissions"
    )


def exists(path: Path) -> bool:
    """Whether a path is there.

    Raises:
        DataError: The system does not let us look, or the name is too long.
    """
    try:
        return path.exists()
    except OSError as error:
        raise read_error(path, error) from error


def content_hash(paths: list[Path], also: str = "", *, may_be_unreadable: bool = False) -> str:
    """A hash of the bytes of some files, as they lie on the disk.

    Args:
        paths: The files; their order counts, their names do not.
        also: Anything else that the result should depend on.
        may_be_unreadable: Let a file that cannot be read count as such; else it is an error.

    Raises:
        DataError: A file cannot be read.
    """
    total = hashlib.blake2b(also.encode(errors="surrogateescape"), digest_size=16)
    for path in paths:
        try:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "blake2b").digest())
        except OSError as error:
            if not may_be_unreadable:
                raise read_error(path, error) from error
            total.update(f"unreadable: {error.errno}\n".encode())
    return total.hexdigest()


def source_key(paths: list[Path], also: str = "", *, may_be_unreadable: bool = False) -> str:
    """A key of what some files hold: of their content, or of their state where reading them all would take long.

    Above a thousand files or a GiB in all, it is made of sizes, and of the times of the last change of the content and
    of the file's entry; the second of these cannot be set by anybody.

    Args:
        paths: The files, in order.
        also: Anything else that the result should depend on, such as names and options.
        may_be_unreadable: See :func:`content_hash`.

    Raises:
        DataError: A file cannot be read.
    """
    total = hashlib.blake2b(also.encode(errors="surrogateescape"), digest_size=16)
    size = 0
    for path in paths:
        try:
            state = path.stat()
        except OSError as error:
            if not may_be_unreadable:
                raise read_error(path, error) from error
            total.update(f"unreadable: {error.errno}\n".encode())
            continue
        size += state.st_size
        total.update(f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
    if len(paths) <= FEW_FILES and size <= SMALL_SIZE:
        return content_hash(paths, also, may_be_unreadable=may_be_unreadable)
    return total.hexdigest()
