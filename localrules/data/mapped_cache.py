"""Decoded data sets in files that are mapped into memory: loading copies nothing, so a set may be larger than memory.

An entry of the cache is a folder with one ``.npy`` file for each array, and ``entry.json`` with their sizes and
checksums, and with notes of the decoder. The folder is written under another name and renamed, so a kill leaves a whole
entry or none.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import tempfile
import time
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from localrules.data.cache import DIRECTORY_VARIABLE, directory
from localrules.data.dataset import SPLITS, Split, fingerprint
from localrules.utils.atomic_io import fsync_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import DTypeLike, NDArray
    from torch import Tensor

INDEX = "entry.json"
VERIFIED_SIZE = 1 << 30
"""Entries of up to so many bytes are compared with their checksums at loading (half a second); above, by size."""
CHUNK_SIZE = 1 << 24
UNFINISHED = ".localrules-"  # how the name of an entry begins that is being written
DAMAGED = "damaged"
ABANDONED_SECONDS = 86400  # what is older was left by a process that was killed
Notes = dict[str, Any]


class ArrayStore:
    """The arrays of a new entry, to be filled by a decoder. They may be larger than memory.

    Args:
        folder: Where their files are made; ``None`` keeps the arrays in memory.
    """

    def __init__(self, folder: Path | None) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self._folder = folder

    def allocate(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of zeros to write to."""
        if self._folder is None:
            self.arrays[name] = np.zeros(shape, dtype)
            return self.arrays[name]
        path = self._folder / f"{name}.npy"
        try:
            array: NDArray[Any] = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
            _reserve(path)
        except OSError as error:
            raise _NotWritableError(error) from error
        self.arrays[name] = array
        return array

    def clear(self) -> None:
        """Drop all arrays, to start again."""
        for name in list(self.arrays):
            del self.arrays[name]
            if self._folder is not None:
                (self._folder / f"{name}.npy").unlink()

    def save(self, name: str, array: NDArray[Any]) -> None:
        """Store an array that is in memory."""
        self.allocate(name, array.shape, array.dtype)[...] = array

    def allocate_split(self, split: str, samples: int, shape: tuple[int, ...]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The images and the labels of a split, both to be filled.

        Args:
            split: Its name.
            samples: How many.
            shape: Of one image: channels, height, width.
        """
        images = self.allocate(f"{split}-images", (samples, *shape), np.uint8)
        return images, self.allocate(f"{split}-labels", (samples,), np.int64)

    def save_split(self, split: str, images: NDArray[Any], labels: NDArray[Any]) -> None:
        """Store a split that is in memory."""
        stored = self.allocate_split(split, len(labels), images.shape[1:])
        stored[0][...], stored[1][...] = images, labels


@dataclass(frozen=True)
class CachedSplits:
    """Splits whose images are mapped from the cache.

    Attributes:
        splits: In the order of :data:`localrules.data.dataset.SPLITS`.
        fingerprint: Of :func:`localrules.data.dataset.fingerprint`.
        notes: Of the decoder.
    """

    splits: dict[str, Split]
    fingerprint: str
    notes: Notes


def load_splits(kind: str, key: str, decode: Callable[[ArrayStore], Notes]) -> CachedSplits:
    """The splits that a decoder makes, from the cache if they are there.

    Args:
        kind: What they are, with the version of their layout: ``cifar10-1``.
        key: A hash of what they are made from and of the options that change them.
        decode: Stores splits by :meth:`ArrayStore.allocate_split`, and returns notes that JSON can hold. It is not
            called when a sound entry exists.

    A damaged entry is made anew. Where the cache cannot be written, a warning says so, and the arrays are in memory.
    """

    def build(store: ArrayStore) -> Notes:
        notes = decode(store)
        return {**notes, "fingerprint": fingerprint(_splits(store.arrays))}

    arrays, notes = load_or_map(kind, key, build)
    return CachedSplits(_splits(arrays), notes.pop("fingerprint"), notes)


def load_or_map(kind: str, key: str, build: Callable[[ArrayStore], Notes]) -> tuple[Mapping[str, NDArray[Any]], Notes]:
    """Arrays and notes from the cache, the arrays mapped into memory; see :func:`load_splits`."""
    folder = directory() / f"{kind}-{key}"
    found = _load(folder)
    if found is not None:
        return found
    try:
        return _build(folder, build)
    except _NotWritableError as error:
        warnings.warn(
            f"the decoded data could not be kept in {folder.parent} ({error.reason}): they are held in memory, and the "
            f"next run decodes them again. Set {DIRECTORY_VARIABLE} to a folder that can be written.",
            stacklevel=3,
        )
    store = ArrayStore(None)
    notes = build(store)
    return store.arrays, notes


class _NotWritableError(Exception):
    """The cache cannot be written: the disk is full, the folder is not ours."""

    def __init__(self, error: OSError) -> None:
        self.reason = error.strerror or str(error)
        super().__init__(self.reason)


def _load(folder: Path) -> tuple[dict[str, NDArray[Any]], Notes] | None:
    """A sound entry, or ``None``."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError, EOFError):
        index = json.loads((folder / INDEX).read_text())
        if index.pop("crc32") != _checksum_of(index):
            return None
        files = {name: folder / f"{name}.npy" for name in index["files"]}
        verify = sum(file["size"] for file in index["files"].values()) <= VERIFIED_SIZE
        for name, path in files.items():
            expected = index["files"][name]
            if path.stat().st_size != expected["size"] or (verify and _checksum(path) != expected["crc32"]):
                return None
        return {name: _map(path) for name, path in files.items()}, index["notes"]
    return None


def _map(path: Path) -> NDArray[Any]:
    try:
        # Copy on write: writing to a tensor changes neither the file nor, as a read-only map would, ends the process.
        return np.load(path, mmap_mode="c", allow_pickle=False)
    except OSError:  # the system does not promise so much memory for the copies
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _build(folder: Path, build: Callable[[ArrayStore], Notes]) -> tuple[dict[str, NDArray[Any]], Notes]:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=f"{UNFINISHED}{folder.name}-", dir=folder.parent))
    except OSError as error:
        raise _NotWritableError(error) from error
    try:
        store = ArrayStore(temporary)
        notes = build(store)
        try:
            _finish(temporary, store.arrays, notes)
            _place(temporary, folder)
        except OSError as error:
            raise _NotWritableError(error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return {name: _map(folder / f"{name}.npy") for name in store.arrays}, notes


def _finish(folder: Path, arrays: Mapping[str, NDArray[Any]], notes: Notes) -> None:
    """Write everything to the disk, and the index last."""
    files = {}
    for name, array in arrays.items():
        if isinstance(array, np.memmap):
            array.flush()
        path = folder / f"{name}.npy"
        fsync_path(path)
        files[name] = {"size": path.stat().st_size, "crc32": _checksum(path)}
    index = {"files": files, "notes": notes}
    (folder / INDEX).write_text(json.dumps({**index, "crc32": _checksum_of(index)}))
    fsync_path(folder / INDEX)


def _place(temporary: Path, folder: Path) -> None:
    """Give a finished entry its name. A damaged entry of that name goes; of two processes the first one's stays."""
    if folder.exists():
        if _load(folder) is not None:
            return
        folder.rename(temporary / DAMAGED)  # processes that have mapped it keep their files
    temporary.chmod(0o755)
    try:
        temporary.rename(folder)
    except OSError:
        if _load(folder) is None:
            raise
    shutil.rmtree(folder / DAMAGED, ignore_errors=True)
    fsync_path(folder.parent)


def _remove_abandoned(directory: Path) -> None:
    """Remove what processes that were killed have left of entries of any name.

    The directory may be one that others use, too: only folders with our name and nothing but our files are ours.
    """
    for place in directory.glob(f"{UNFINISHED}*-*"):
        with contextlib.suppress(OSError):  # another process may remove it, too
            inside = list(place.iterdir())
            ours = all(file.suffix == ".npy" or file.name in (INDEX, DAMAGED) for file in inside)
            newest = max(file.stat().st_mtime for file in (place, *inside))
            if ours and time.time() - newest > ABANDONED_SECONDS:
                shutil.rmtree(place, ignore_errors=True)


def _reserve(path: Path) -> None:
    """Take the file's bytes from the disk now: later, writing to a map of a full disk would end the process."""
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # of file systems that cannot do it
                raise


def _checksum_of(index: Notes) -> int:
    return zlib.crc32(json.dumps(index, sort_keys=True).encode())


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_SIZE):
            total = zlib.crc32(chunk, total)
    return total


def _splits(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Split]:
    return {
        name: Split(_tensor(arrays[f"{name}-images"]), torch.from_numpy(np.array(arrays[f"{name}-labels"])))
        for name in SPLITS
        if f"{name}-images" in arrays
    }


def _tensor(array: NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)
