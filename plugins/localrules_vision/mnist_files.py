"""The two forms in which MNIST and its kin are kept: one ``.npz`` file, or four IDX files."""

from __future__ import annotations

import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from localrules import Split
from localrules.data.folders import is_hidden
from localrules.data.idx import parse_idx
from localrules.data.io import AGAIN, exists, open_maybe_gzip, read_error
from localrules.errors import DataError
from localrules_vision.mnist_fingerprints import refuse_kmnist

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 28
NPZ_NAMES = {"train": ("x_train", "y_train"), "test": ("x_test", "y_test")}
IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
# An encrypted array is a RuntimeError, an unknown compression a NotImplementedError, which is one, too.
DAMAGED = (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError)


class Source(NamedTuple):
    """An array, and where it came from as a person would say it."""

    values: NDArray[Any]
    where: str


def read_splits(path: Path, classes: int) -> dict[str, Split]:
    """The train and test splits of an ``.npz`` file or of four IDX files.

    Args:
        path: The ``.npz`` file, a folder that holds one or the IDX files, or any of the IDX files.
        classes: Labels run from 0 to one less.

    Raises:
        DataError: Something is missing or damaged.
    """
    if not exists(path):
        raise read_error(path, FileNotFoundError())
    if path.is_dir():
        archives = [file for file in path.glob("*.npz") if not is_hidden(file.name)]
        has_idx = any("-ubyte" in file.name or ".idx" in file.name for file in path.iterdir())
        sources = _read_npz(archives[0]) if len(archives) == 1 and not has_idx else _read_idx(path)
    elif path.name.startswith(("train-", "t10k-")):
        sources = _read_idx(path.parent)
    else:
        sources = _read_npz(path)
    return {split: _checked(images, labels, classes) for split, (images, labels) in sources.items()}


def _read_npz(path: Path) -> dict[str, tuple[Source, Source]]:
    try:
        with path.open("rb") as file:
            if not zipfile.is_zipfile(file):
                raise _wrong(str(path), "a file that is no .npz archive", "an .npz file or four IDX files")
            refuse_kmnist(path)
            file.seek(0)
            with np.load(file) as archive:
                absent = [name for pair in NPZ_NAMES.values() for name in pair if name not in archive.files]
                if absent:
                    found = ", ".join(archive.files[:8]) or "nothing"
                    raise _wrong(str(path), f"the arrays {found}", "x_train, y_train, x_test and y_test")
                return {
                    split: (
                        Source(archive[images], f"{path}, array {images}"),
                        Source(archive[labels], f"{path}, array {labels}"),
                    )
                    for split, (images, labels) in NPZ_NAMES.items()
                }
    except OSError as error:
        raise read_error(path, error) from error
    except DAMAGED as error:
        raise DataError("the data file is damaged or encrypted", where=str(path), why=str(error), fix=AGAIN) from error


def _read_idx(folder: Path) -> dict[str, tuple[Source, Source]]:
    return {
        split: (_read_idx_file(_find_idx(folder, images), 3), _read_idx_file(_find_idx(folder, labels), 1))
        for split, (images, labels) in IDX_NAMES.items()
    }


def _find_idx(folder: Path, name: str) -> Path:
    # Some packers turn "train-images-idx3-ubyte" into "train-images.idx3-ubyte".
    for spelling in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            path = folder / (spelling + suffix)
            if path.is_file():
                return path
    raise DataError(
        "the folder lacks an IDX file",
        where=str(folder),
        why=f"expected {name} or {name}.gz, or one .npz file",
        fix="put the four files of the data set into one folder",
    )


def _read_idx_file(path: Path, dimensions: int) -> Source:
    with open_maybe_gzip(path) as file:
        content = file.read()
    refuse_kmnist(path)
    return Source(parse_idx(content, dimensions, str(path)), str(path))


def _checked(images: Source, labels: Source, classes: int) -> Split:
    pixels, numbers = images.values, labels.values
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (SIDE, SIDE):
        raise _wrong(
            images.where, f"{pixels.dtype} of shape {pixels.shape}", f"uint8 of shape (samples, {SIDE}, {SIDE})"
        )
    if not len(pixels):
        raise _wrong(images.where, "no samples", "some")
    if numbers.shape != pixels.shape[:1] or not np.issubdtype(numbers.dtype, np.integer):
        found = f"{numbers.dtype} of shape {numbers.shape}"
        raise _wrong(labels.where, found, f"an integer for each of the {len(pixels):,} images")
    wrong = np.flatnonzero((numbers < 0) | (numbers >= classes))
    if len(wrong):
        place = f"{labels.where}, sample {wrong[0]} (from 0)"
        raise _wrong(place, f"the label {numbers[wrong[0]]}", f"0 to {classes - 1}")
    return Split(torch.tensor(pixels).unsqueeze(1), torch.tensor(numbers.astype(np.int64)))


def _wrong(where: str, found: str, expected: str) -> DataError:
    return DataError(
        "the data file is not in MNIST's format", where=where, why=f"found {found}; expected {expected}", fix=AGAIN
    )
