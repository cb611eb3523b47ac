"""Writing a data set in Kaggle's FER2013 format."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from localrules.data.dataset import SPLITS
from localrules.errors import UsageError
from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from localrules.data.dataset import Dataset

SHAPE = (1, 48, 48)
CLASSES = 7
USAGES = dict(zip(SPLITS, ("Training", "PublicTest", "PrivateTest"), strict=True))
WORDS = [str(value) for value in range(256)]


def export_csv(data: Dataset, path: Path) -> int:
    """Write ``emotion,pixels,Usage`` rows, all splits in order; gzipped where the name ends in ``.gz``.

    Args:
        data: Images of 48 x 48 grey pixels with seven labels.
        path: The file; its folder must exist.

    Returns:
        How many rows were written.

    Raises:
        UsageError: The images do not fit the format, or the file cannot be written.
    """
    if data.shape != SHAPE or len(data.classes) != CLASSES:
        channels, height, width = data.shape
        raise UsageError(
            f"{data.name} does not fit into FER2013's format",
            where=data.origin,
            why=f"it has {len(data.classes)} classes and images of {channels} x {height} x {width}; "
            "the format has 7 classes and images of 1 x 48 x 48",
            fix="export faces or fer2013",
        )

    def write(part: Path) -> None:
        # No time and no name in the head of a gzip file: the same images give the same bytes.
        with part.open("wb") as raw:
            if path.suffix == ".gz":
                with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as packed:
                    packed.writelines(_csv_lines(data))
            else:
                raw.writelines(_csv_lines(data))

    try:
        write_atomic(path, write)
    except OSError as error:
        raise UsageError(
            "the file cannot be written", where=str(path), why=error.strerror or str(error), fix="choose another --out"
        ) from error
    return sum(len(split) for split in data.splits.values())


def _csv_lines(data: Dataset) -> Iterator[bytes]:
    yield b"emotion,pixels,Usage\n"
    for name in SPLITS:
        if name not in data.splits:
            continue
        split = data.splits[name]
        for image, label in zip(split.images.cpu().flatten(1), split.labels.tolist(), strict=True):
            pixels = " ".join([WORDS[value] for value in image.tolist()])
            yield f"{label},{pixels},{USAGES[name]}\n".encode()
