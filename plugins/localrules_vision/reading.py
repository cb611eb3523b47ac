"""Files of published data sets: found in a tree by their usual names, unpacked, and checked."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import zlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from localrules.data.io import AGAIN
from localrules.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from localrules.data.file_tree import FileTree

PACKED_NAMES = ("", ".gz", ".bz2")  # what compression adds to a file's name
_PACKED = {b"\x1f\x8b": gzip.decompress, b"BZh": bz2.decompress}


class DataFile(NamedTuple):
    """A file that was read.

    Attributes:
        content: Unpacked, if it was compressed by gzip or bzip2.
        where: Its name, for messages.
        md5: As it lies on the disk.
    """

    content: bytes
    where: str
    md5: str


def read_file(tree: FileTree, names: Sequence[str]) -> DataFile:
    """The first file of a tree that has one of some names, or one of them with .gz or .bz2, in whatever folder.

    Raises:
        DataError: There is none, or it is damaged.
    """
    for name in (name + ending for name in names for ending in PACKED_NAMES):
        found = [file for file in tree.names if PurePosixPath(file).name == name]
        if len(found) > 1:
            raise held_twice(tree, found)
        if found:
            return _unpacked(tree.read(found[0]), tree.where(found[0]))
    raise DataError(
        f"the {tree.form} lacks a file of the data set",
        where=str(tree.path),
        why=f"expected {' or '.join(names)}",
        fix="put all files of the data set into one folder, and name it",
    )


def held_twice(tree: FileTree, found: Sequence[str]) -> DataError:
    """The error for a tree that has a data set in several places."""
    return DataError(
        f"the {tree.form} holds the data set more than once",
        where=str(tree.path),
        why=f"found {' and '.join(place or 'the folder itself' for place in found[:2])}",
        fix="name one of their folders",
    )


def has_file(tree: FileTree, name: str) -> bool:
    """Whether some folder of a tree has a file of that name."""
    return any(PurePosixPath(file).name == name for file in tree.names)


def _unpacked(content: bytes, where: str) -> DataFile:
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    try:
        for magic, unpack in _PACKED.items():
            if content.startswith(magic):
                content = unpack(content)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            "the compressed data file is damaged or cut short", where=where, why=str(error), fix=AGAIN
        ) from error
    return DataFile(content, where, digest)


def checked_split(
    images: NDArray[Any], labels: NDArray[Any], shape: tuple[int, ...], classes: int, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A split that is as expected.

    Args:
        images: uint8, shape (samples, channels, height, width).
        labels: Integers, shape (samples,).
        shape: Channels, height and width.
        classes: Labels run from 0 to one less.
        where: The files' name, for messages.

    Raises:
        DataError: Something is otherwise.
    """
    if images.dtype != np.uint8 or images.shape != (len(images), *shape) or not len(images):
        found = f"{images.dtype} of shape {images.shape}"
        raise wrong_format(where, found, f"uint8 of shape (samples, {', '.join(map(str, shape))})")
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        found = f"labels that are {labels.dtype} of shape {labels.shape}"
        raise wrong_format(where, found, f"an integer for each of the {len(images):,} images")
    numbers = labels.astype(np.int64)
    outside = np.flatnonzero((numbers < 0) | (numbers >= classes))
    if len(outside):
        place = f"{where}, sample {outside[0]} (from 0)"
        raise wrong_format(place, f"the label {labels[outside[0]]}", f"one of {classes} classes")
    return np.asarray(images, dtype=np.uint8), numbers


def origin_of(path: Path, digests: Sequence[str], known: Sequence[str], samples: int) -> str:
    """Whether files, or the archive that holds them, are the published ones, by their md5.

    Args:
        path: The folder or archive.
        digests: The md5 of the files that were read.
        known: Those of the published files.
        samples: How many were read.
    """
    original = set(digests) <= set(known) or (path.is_file() and file_md5(path) in known)
    return f"{'the original' if original else 'unrecognised'}, {samples:,} samples"


def file_md5(path: Path) -> str:
    """The md5 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def wrong_format(where: str, found: str, expected: str) -> DataError:
    """The error for a file that is read and is not what it should be."""
    return DataError(
        "the data file is not in the data set's format",
        where=where,
        why=f"found {found}; expected {expected}",
        fix=AGAIN,
    )
