"""The forms in which CIFAR-10 and CIFAR-100 are kept: pickles, binary files and image files, in folders or archives.

The python and the binary form are described at https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

import hashlib
import pickle
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from localrules.data.folders import is_image
from localrules.data.io import AGAIN, read_error
from localrules.errors import DataError
from localrules_vision.reading import held_twice
from localrules_vision.restricted_pickle import load_pickle

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from localrules.data.file_tree import FileTree
    from localrules_vision.holdout import Arrays

SHAPE = (3, 32, 32)
PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Form:
    """One form of a data set.

    Attributes:
        files: The files of each split.
        label: The key of the labels in a pickle, or their place in the head of a sample of a binary file.
        head: Bytes of labels before the pixels of a sample; 0 for pickles.
    """

    files: Mapping[str, tuple[str, ...]]
    label: str | int
    head: int = 0


def find_form(tree: FileTree, forms: tuple[Form, ...]) -> tuple[Form, str] | None:
    """The first form of which the tree has a folder with all files, and that folder.

    Where no folder has all of them, the one that has most counts, so that reading it names those that are missing;
    not beside image files, as CIFAR-100's files are called ``train`` and ``test``, which may be anything there.

    Raises:
        DataError: Several folders have all files of a form.
    """
    partial: list[tuple[int, Form, str]] = []
    for form in forms:
        wanted = {file for files in form.files.values() for file in files}
        found = Counter(folder for folder, file in map(_parts, tree.names) if file in wanted)
        whole = [folder for folder, count in found.items() if count == len(wanted)]
        if len(whole) > 1:
            raise held_twice(tree, whole)
        if whole:
            return form, whole[0]
        partial += [(count, form, folder) for folder, count in found.items()]
    if not partial or any(map(is_image, tree.names)):
        return None
    return max(partial, key=lambda found: found[0])[1:]


def _parts(name: str) -> tuple[str, str]:
    """The folder of a file, with ``/`` at its end, and the file's name."""
    folder, slash, file = name.rpartition("/")
    return folder + slash, file


def read_form(tree: FileTree, form: Form, folder: str, classes: int) -> tuple[dict[str, Arrays], dict[str, str]]:
    """The splits of one form, and the md5 of each file.

    Raises:
        DataError: A file is missing, damaged, or in another format.
    """
    wanted = {folder + file: split for split, files in form.files.items() for file in files}
    if absent := [name for name in wanted if name not in set(tree.names)]:
        raise DataError(
            f"the {tree.form} lacks files of the data set",
            where=str(tree.path),
            why=f"there is no {', '.join(absent)}",
            fix=AGAIN,
        )
    parts: dict[str, Arrays] = {}
    digests: dict[str, str] = {}
    for name, source in tree.contents(wanted):
        content = _content(source)
        digests[PurePosixPath(name).name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
        read = _read_binary if form.head else _read_pickle
        parts[name] = _checked(*read(content, form, tree.where(name)), classes, tree.where(name))
    splits = {
        split: tuple(np.concatenate([parts[folder + file][at] for file in files]) for at in (0, 1))
        for split, files in form.files.items()
    }
    return splits, digests  # type: ignore[return-value]


def _content(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise read_error(source, error) from error


def _read_pickle(content: bytes, form: Form, where: str) -> tuple[Any, Any]:
    try:
        found = load_pickle(content)
    except pickle.UnpicklingError as error:
        raise DataError(
            "the pickle cannot be read", where=where, why=f"{error} (no code of a pickle is run)", fix=AGAIN
        ) from error
    if not isinstance(found, dict):
        raise _wrong(where, f"a {type(found).__name__}", "a dict with data and labels")
    # Pickles that somebody has written anew with Python 3 may have keys of bytes.
    values = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in found.items()}
    if absent := [key for key in ("data", form.label) if key not in values]:
        raise _wrong(where, f"the keys {', '.join(map(str, values)) or 'none'}", " and ".join(map(str, absent)))
    return values["data"], values[form.label]


def _read_binary(content: bytes, form: Form, where: str) -> tuple[Any, Any]:
    size = form.head + PIXELS
    if not content or len(content) % size:
        raise _wrong(where, f"{len(content):,} bytes", f"a multiple of {size:,}, the size of a sample")
    samples = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    assert isinstance(form.label, int)
    return samples[:, form.head :], samples[:, form.label]


def _checked(pixels: Any, labels: Any, classes: int, where: str) -> Arrays:
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        found = f"{pixels.dtype} of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise _wrong(where, f"data that are {found}", f"uint8 of shape (samples, {PIXELS})")
    try:
        numbers: NDArray[Any] = np.asarray(labels) if isinstance(labels, (list, np.ndarray)) else np.zeros(0)
    except ValueError as error:  # lists of several lengths in a list
        raise _wrong(where, f"labels of no shape ({error})", "an integer for each image") from error
    if numbers.shape != (len(pixels),) or not len(numbers) or not np.issubdtype(numbers.dtype, np.integer):
        raise _wrong(where, f"labels of shape {numbers.shape}", f"an integer for each of the {len(pixels):,} images")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= classes))
    if len(wrong):
        raise _wrong(f"{where}, sample {wrong[0]} (from 0)", f"the label {numbers[wrong[0]]}", f"0 to {classes - 1}")
    return pixels.reshape(-1, *SHAPE), numbers.astype(np.int64)


def _wrong(where: str, found: str, expected: str) -> DataError:
    return DataError(
        "the data file is not in CIFAR's format", where=where, why=f"found {found}; expected {expected}", fix=AGAIN
    )
