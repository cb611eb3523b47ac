"""FER2013 as a folder of images: ``<split>/<class>/<image>``, with the splits' names in any of three customs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from localrules.errors import DataError
from localrules_fer.datasets.fer2013_csv import CLASSES

if TYPE_CHECKING:
    from pathlib import Path

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "publictest"),
    "test": ("test", "privatetest"),
}
MERGED = ("PublicTest_", "PrivateTest_")
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".tif", ".tiff"}
LAYOUT = "expected <split>/<class>/<image>, with train/, valid/ and test/ (or Training/, PublicTest/, PrivateTest/)"


class ImageFile(NamedTuple):
    """One file, and what its place says of it."""

    path: Path
    split: str
    label: int


def list_images(folder: Path) -> tuple[list[ImageFile], str]:
    """The images of a folder, by split, class and name; and what has to be said of its splits.

    Kaggle's image folder keeps PublicTest and PrivateTest in one ``test/``, but the names of its files still say
    which is which (``PublicTest_1.jpg``). Where every name does, the splits are as in ``fer2013.csv``. Elsewhere
    ``test/`` is the test split as it stands: we never divide a split ourselves.

    Raises:
        DataError: The folder is not laid out like that, or holds no images.
    """
    places = _split_folders(folder)
    images = [image for split, place in places.items() for image in _of_split(place, split)]
    if not images:
        raise DataError(
            "the folder holds neither a FER2013 file nor images",
            where=str(folder),
            why=f"{LAYOUT}; found {_listing(folder)}",
            fix="name the folder that holds fer2013.csv, or one laid out like that",
        )
    tested = [image.path.name for image in images if image.split == "test"]
    if "valid" in places or not tested:
        return images, ""
    if not all(name.startswith(MERGED) for name in tested):
        return images, "test/ taken as it stands (Kaggle's is PublicTest and PrivateTest together)"
    told_apart = [
        image._replace(split="valid") if image.split == "test" and image.path.name.startswith(MERGED[0]) else image
        for image in images
    ]
    return told_apart, "PublicTest and PrivateTest told apart by the file names in test/"


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


def _of_split(place: Path, split: str) -> list[ImageFile]:
    images: list[ImageFile] = []
    for entry in _folders(place):
        name = entry.name.lower()
        if name not in CLASSES:
            raise DataError(
                "the folder names an unknown class",
                where=str(entry),
                why=f"found {entry.name!r}; expected {', '.join(CLASSES)}",
                fix="rename the folder, or take it out",
            )
        files = sorted(file for file in entry.iterdir() if _is_image(file))
        images += [ImageFile(file, split, CLASSES.index(name)) for file in files]
    return images


def _is_image(file: Path) -> bool:
    # macOS leaves "._name.jpg" beside the files that it copies.
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".")


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "") if names else "nothing"
