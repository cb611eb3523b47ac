"""FER2013 as a folder of images: ``<split>/<class>/<image>``, under the names in use for splits and classes."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from localrules.data import folders
from localrules.data.file_tree import is_archive
from localrules.data.folders import EVALUATION, count_of, is_image, some_names, subfolders, visible_files
from localrules.data.io import ARCHIVE_SUFFIXES
from localrules.errors import DataError
from localrules_fer.datasets.fer2013_csv import CLASSES

SPLIT_NAMES = {
    **folders.SPLIT_NAMES,
    "valid": (*folders.SPLIT_NAMES["valid"], "publictest"),
    "test": (*folders.SPLIT_NAMES["test"], "privatetest"),
}
CLASS_NAMES = {
    **{"angry": 0, "anger": 0, "disgust": 1, "disgusted": 1, "fear": 2, "fearful": 2, "happy": 3, "happiness": 3},
    **{"sad": 4, "sadness": 4, "surprise": 5, "surprised": 5, "neutral": 6},
}
MERGED = ("PublicTest_", "PrivateTest_")
LAYOUT = "expected <split>/<class>/<image>, with train/, valid/ and test/ (or Training/, PublicTest/, PrivateTest/)"
WRAPPED = 3  # levels of folders around the splits that are looked through, as archives unpack to


class ImageFile(NamedTuple):
    """One file, and what its place says of it."""

    path: Path
    split: str
    label: int


class Contents(NamedTuple):
    """The data that a folder holds.

    Attributes:
        folder: Where the data lie: the folder itself, or one inside it.
        files: The names of FER2013's own files in it.
        has_images: Whether it has folders with the names of splits and, in them, of classes.
    """

    folder: Path
    files: list[str]
    has_images: bool


def find_contents(folder: Path, names: tuple[str, ...]) -> Contents:
    """The place of the data in a folder: archives often unpack to a folder in a folder.

    Args:
        folder: As the user names it.
        names: The names of FER2013's own files, the most complete first.

    Raises:
        DataError: Several folders inside it, but not the folder itself, hold the data set.
    """
    if (here := _contents(folder, names)).files or _named_splits(folder):
        return here
    level = subfolders(folder)
    for _ in range(WRAPPED):
        found = [inner for inner in (_contents(place, names) for place in level) if inner.files or inner.has_images]
        if len(found) > 1:
            raise DataError(
                "the folder holds the data set more than once",
                where=str(folder),
                why=f"it is in {some_names(str(inner.folder.relative_to(folder)) + '/' for inner in found)}",
                fix="name one of them",
            )
        if found:
            return found[0]
        level = [inner for place in level if _class_of(place.name) is None for inner in subfolders(place)]
    return here


def holds_data(folder: Path, names: tuple[str, ...]) -> bool:
    """Whether a folder holds the data set, in however many places; one that is merely called like it does not."""
    try:
        found = find_contents(folder, names)
    except DataError:
        return True
    return bool(found.files or found.has_images or _named_splits(found.folder))


def list_images(folder: Path) -> tuple[list[ImageFile], list[str]]:
    """The images of a folder, by split, class and name; and what has to be said of the folder.

    Kaggle's image folder keeps PublicTest and PrivateTest in one ``test/``, but the names of its files still say
    which is which (``PublicTest_1.jpg``). Where every name does, the splits are as in ``fer2013.csv``. Elsewhere
    ``test/`` is the test split as it stands: we never divide a split ourselves.

    Raises:
        DataError: The folder is not laid out like that, is ambiguous, or holds no images.
    """
    places = _split_folders(folder)
    images = [image for split, place in places.items() for image in _of_split(place, split)]
    if not images:
        raise _no_images(folder)
    notes = _numbers_note(folder, places)
    tested = [image.path.name for image in images if image.split == "test"]
    if "valid" not in places and tested:
        if all(name.startswith(MERGED) for name in tested):
            images = [_told_apart(image) for image in images]
            notes.append("PublicTest and PrivateTest told apart by the file names in test/")
        else:
            notes.append("test/ taken as it stands (Kaggle's is PublicTest and PrivateTest together)")
    return images, notes + _others_left_out(folder)


def images_left_out(folder: Path, read: set[Path]) -> list[str]:
    """A sentence that counts the images of a folder that are not read, and says where they are; none if all are."""
    rest = [file for file in visible_files(folder) if file not in read and is_image(file.name)]
    parts = [file.relative_to(folder).parts for file in rest]
    counts = Counter(part[0] + "/" if len(part) > 1 else "the folder itself" for part in parts)
    places = some_names(f"{count:,} in {place}" for place, count in counts.items())
    return [f"{count_of(rest, 'image')} left out, which no <split>/<class>/ holds: {places}"] if rest else []


def _others_left_out(folder: Path) -> list[str]:
    others = [file for file in visible_files(folder) if not is_image(file.name)]
    names = some_names(file.name for file in others)
    return [f"{count_of(others, 'file')} left out, no images by their names: {names}"] if others else []


def _contents(folder: Path, names: tuple[str, ...]) -> Contents:
    splits = (folder / place for places in _named_splits(folder).values() for place in places)
    has_images = any(_class_of(inner.name) is not None for split in splits for inner in subfolders(split))
    return Contents(folder, [name for name in names if (folder / name).is_file()], has_images)


def _named_splits(folder: Path) -> dict[str, list[str]]:
    return folders.named_splits((place.name for place in subfolders(folder)), SPLIT_NAMES)


def _split_folders(folder: Path) -> dict[str, Path]:
    """The folder of each split, in the order of the splits."""
    found = folders.split_folders(_named_splits(folder), str(folder))
    return {split: folder / name for split, name in found.items()}


def _of_split(place: Path, split: str) -> list[ImageFile]:
    images: list[ImageFile] = []
    met: dict[int, str] = {}
    for entry in subfolders(place):
        files = sorted(file for file in visible_files(entry) if is_image(file.name))
        label = _class_of(entry.name)
        if label is None:
            if not files:
                continue
            raise DataError(
                "the folder names an unknown class",
                where=str(entry),
                why=f"found {entry.name!r}; expected {', '.join(CLASSES)} or their numbers 0 to 6",
                fix="rename the folder, or take it out",
            )
        if label in met:
            raise DataError(
                f"the folder has two folders for the class {CLASSES[label]}",
                where=str(place),
                why=f"found {met[label]}/ and {entry.name}/",
                fix="put their images into one folder, or take one out",
            )
        met[label] = entry.name
        for file in files:
            _refuse_other_class(entry, file, label)
        images += [ImageFile(file, split, label) for file in files]
    return images


def _refuse_other_class(entry: Path, file: Path, label: int) -> None:
    splits = {name for names in (*SPLIT_NAMES.values(), EVALUATION) for name in names}
    for part in file.relative_to(entry).parts[:-1]:
        # A number inside a class is a part of it, such as a person, rather than a class.
        other = None if part.isdigit() else _class_of(part)
        if other not in (None, label) or part.lower() in splits:
            raise DataError(
                "a class folder holds another class or a split",
                where=str(file.parent),
                why=f"found {part}/ inside {entry.name}/",
                fix=f"lay the images out as in: {LAYOUT}",
            )


def _class_of(name: str) -> int | None:
    """The class that a folder's name stands for: ``happy``, ``Happiness``, ``3`` or ``3_happy``."""
    parts = re.fullmatch(r"([0-6]?)[\s_.-]*([a-z]*)", name.strip().lower())
    if parts is None:
        return None
    number, word = parts.groups()
    if not word:
        return int(number) if number else None
    label = CLASS_NAMES.get(word)
    return label if number in ("", str(label)) else None


def _numbers_note(folder: Path, places: dict[str, Path]) -> list[str]:
    """A note on classes that are given as numbers alone."""
    numbers = {
        entry.name for place in places.values() for entry in subfolders(place) if re.fullmatch("[0-6]", entry.name)
    }
    if not numbers:
        return []
    if "0" not in numbers:
        raise DataError(
            "the class folders are numbers that do not begin with 0",
            where=str(folder),
            why=f"found {', '.join(sorted(numbers))}; FER2013 counts from 0 (angry) to 6 (neutral), others from 1",
            fix="rename the folders by their classes: " + ", ".join(CLASSES),
        )
    return ["classes by FER2013's numbers, 0 angry to 6 neutral"]


def _told_apart(image: ImageFile) -> ImageFile:
    public = image.split == "test" and image.path.name.startswith(MERGED[0])
    return image._replace(split="valid") if public else image


def _no_images(folder: Path) -> DataError:
    inner = subfolders(folder)
    entries = [entry.name + "/" * entry.is_dir() for entry in sorted(folder.iterdir())]
    found = f"found {some_names(entries) or 'nothing'}"
    if any(place.name.lower() == "fer2013train" for place in inner):
        return DataError(
            "the folder is in the layout of FER+, whose images lie in no class folders",
            where=str(folder),
            why=f"{LAYOUT}; {found}",
            fix="give fer2013.csv to --data-path, and FER+'s votes (fer2013new.csv) to --ferplus of localrules eval",
        )
    if sum(_class_of(place.name) is not None for place in inner) > 1:
        return DataError(
            "the folder has classes but no splits",
            where=str(folder),
            why=f"{LAYOUT}; {found}",
            fix="put the class folders into train/, and those of other splits into valid/ and test/",
        )
    archives = [name for name in entries if name.lower().endswith(ARCHIVE_SUFFIXES)]
    return DataError(
        "the folder holds neither a FER2013 file nor images",
        where=str(folder),
        why="; ".join([LAYOUT, found, *images_left_out(folder, set())]),
        fix=f"name {folder / archives[0]}"
        if archives and is_archive(folder / archives[0])
        else f"unpack {archives[0]}, and name the folder or file that comes out of it"
        if archives
        else "name the folder that holds fer2013.csv, or one laid out like that",
    )
