"""FER2013 as a folder of pictures: ``<split>/<class>/<picture>``, with the splits' names in any of three customs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from localrules.errors import DataError
from localrules_fer.fer2013_csv import CLASSES, SIDE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "publictest"),
    "test": ("test", "privatetest"),
}
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".tif", ".tiff"}
LAYOUT = "expected <split>/<class>/<picture>, with train/, valid/ and test/ (or Training/, PublicTest/, PrivateTest/)"


class Picture(NamedTuple):
    """One file, and what its place says of it."""

    path: Path
    split: str
    label: int


def list_pictures(folder: Path) -> list[Picture]:
    """The pictures of a folder, by split, class and name.

    Kaggle's picture folder keeps PublicTest and PrivateTest in one ``test/``, but the names of its files still say
    which is which (``PublicTest_1.jpg``). Where every name does, the splits are as in ``fer2013.csv``; elsewhere
    ``test/`` is the test split as it stands, since we never divide a split ourselves.

    Raises:
        DataError: The folder is not laid out like that, or holds no pictures.
    """
    pictures: list[Picture] = []
    for place in sorted(entry for entry in folder.iterdir() if entry.is_dir()):
        split = next((split for split, names in SPLIT_FOLDERS.items() if place.name.lower() in names), None)
        if split:
            pictures += _of_split(place, split)
    if not pictures:
        raise DataError(
            "the folder holds neither a FER2013 file nor pictures",
            where=str(folder),
            why=f"{LAYOUT}; found {_listing(folder)}",
            fix="name the folder that holds fer2013.csv, or one laid out like that",
        )
    tested = [picture for picture in pictures if picture.split == "test"]
    if tested and all(picture.path.name.startswith(("PublicTest_", "PrivateTest_")) for picture in tested):
        pictures = [
            picture._replace(split="valid") if picture in tested and picture.path.name.startswith("Public") else picture
            for picture in pictures
        ]
    return pictures


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture of any size and mode as 48 x 48 grey (ITU-R 601 luma, bilinear).

    Raises:
        DataError: It cannot be decoded.
    """
    try:
        with Image.open(path) as picture:
            grey = picture.convert("L")
            if grey.size != (SIDE, SIDE):
                grey = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
            return np.asarray(grey)
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            "a picture cannot be decoded", where=str(path), why=str(error), fix="replace the file or take it out"
        ) from error


def _of_split(place: Path, split: str) -> list[Picture]:
    pictures: list[Picture] = []
    for entry in sorted(entry for entry in place.iterdir() if entry.is_dir()):
        name = entry.name.lower()
        if name not in CLASSES:
            raise DataError(
                "the folder names an unknown class",
                where=str(entry),
                why=f"found {entry.name!r}; expected {', '.join(CLASSES)}",
                fix="rename the folder, or take it out",
            )
        files = sorted(file for file in entry.iterdir() if file.suffix.lower() in SUFFIXES)
        pictures += [Picture(file, split, CLASSES.index(name)) for file in files]
    return pictures


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"
