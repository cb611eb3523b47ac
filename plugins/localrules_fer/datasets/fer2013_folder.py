"""FER2013 as a folder of pictures: ``<split>/<class>/<picture>``, with the splits' names in any of three customs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from localrules.errors import DataError
from localrules_fer.datasets.fer2013_csv import CLASSES, SIDE

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "publictest"),
    "test": ("test", "privatetest"),
}
MERGED = ("PublicTest_", "PrivateTest_")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".tif", ".tiff"}
LAYOUT = "expected <split>/<class>/<picture>, with train/, valid/ and test/ (or Training/, PublicTest/, PrivateTest/)"


class Picture(NamedTuple):
    """One file, and what its place says of it."""

    path: Path
    split: str
    label: int


def list_images(folder: Path) -> tuple[list[Picture], str]:
    """The pictures of a folder, by split, class and name; and what has to be said of its splits.

    Kaggle's picture folder keeps PublicTest and PrivateTest in one ``test/``, but the names of its files still say
    which is which (``PublicTest_1.jpg``). Where every name does, the splits are as in ``fer2013.csv``. Elsewhere
    ``test/`` is the test split as it stands: we never divide a split ourselves.

    Raises:
        DataError: The folder is not laid out like that, or holds no pictures.
    """
    places = _split_folders(folder)
    pictures = [picture for split, place in places.items() for picture in _of_split(place, split)]
    if not pictures:
        raise DataError(
            "the folder holds neither a FER2013 file nor pictures",
            where=str(folder),
            why=f"{LAYOUT}; found {_listing(folder)}",
            fix="name the folder that holds fer2013.csv, or one laid out like that",
        )
    tested = [picture.path.name for picture in pictures if picture.split == "test"]
    if "valid" in places or not tested:
        return pictures, ""
    if not all(name.startswith(MERGED) for name in tested):
        return pictures, "test/ taken as it stands (Kaggle's is PublicTest and PrivateTest together)"
    told_apart = [
        picture._replace(split="valid")
        if picture.split == "test" and picture.path.name.startswith(MERGED[0])
        else picture
        for picture in pictures
    ]
    return told_apart, "PublicTest and PrivateTest told apart by the file names in test/"


def read_image(path: Path) -> NDArray[np.uint8]:
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


def _split_folders(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for place in _folders(folder):
        for split, names in SPLIT_FOLDERS.items():
            if place.name.lower() not in names:
                continue
            if split in found:
                raise DataError(
                    f"the folder has two {split} splits",
                    where=str(folder),
                    why=f"found both {found[split].name}/ and {place.name}/",
                    fix="take one of them out",
                )
            found[split] = place
    return found


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _of_split(place: Path, split: str) -> list[Picture]:
    pictures: list[Picture] = []
    for entry in _folders(place):
        name = entry.name.lower()
        if name not in CLASSES:
            raise DataError(
                "the folder names an unknown class",
                where=str(entry),
                why=f"found {entry.name!r}; expected {', '.join(CLASSES)}",
                fix="rename the folder, or take it out",
            )
        files = sorted(file for file in entry.iterdir() if _is_picture(file))
        pictures += [Picture(file, split, CLASSES.index(name)) for file in files]
    return pictures


def _is_picture(file: Path) -> bool:
    # macOS leaves "._name.jpg" beside the files that it copies.
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"
