"""Which images are meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from localrules.data.images import SUFFIXES, read_image
from localrules.data.io import exists
from localrules.errors import DataError


def list_images(names: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The images that are meant by files and folders, in order; those of a folder by name.

    Returns:
        The images, and the files of the folders that are left out: hidden ones are not mentioned.

    Raises:
        DataError: There is no such file, or a folder holds no image.
    """
    images: list[Path] = []
    others: list[Path] = []
    for name in names:
        place = name.expanduser()
        if exists(place) and place.is_dir():
            found, left = _in_folder(place)
            images += found
            others += left
        elif place.exists():
            images.append(place)
        else:
            raise DataError(
                "there is no such image",
                where=str(name),
                why=f"the path was looked up from {Path.cwd()}",
                fix="name an image, or a folder of images",
            )
    return images, others


def without_unreadable(images: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The images that can be read, and the others.

    Raises:
        DataError: None can be read: the error of the first.
    """
    readable: list[Path] = []
    unreadable: list[Path] = []
    errors: list[DataError] = []
    for path in images:
        try:
            read_image(path)
        except DataError as error:
            unreadable.append(path)
            errors.append(error)
        else:
            readable.append(path)
    if errors and not readable:
        raise errors[0]
    return readable, unreadable


def _in_folder(folder: Path) -> tuple[list[Path], list[Path]]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError("the folder cannot be read", where=str(folder), why=error.strerror or str(error)) from error
    files = [entry for entry in entries if entry.is_file()]
    images = [file for file in files if file.suffix.lower() in SUFFIXES]
    if not images:
        seen = ", ".join(entry.name + "/" * entry.is_dir() for entry in entries[:5])
        raise DataError(
            "the folder holds no images",
            where=str(folder),
            why=f"it holds {seen}{', ...' * (len(entries) > 5)}" if entries else "it is empty",
            fix=f"name a folder with {', '.join(SUFFIXES[:3])} files in it; folders inside it are named themselves",
        )
    return images, [file for file in files if file.suffix.lower() not in SUFFIXES]
