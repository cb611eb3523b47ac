"""Names in folders of image files: which are splits, which are images, and which do not count."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.data.images import SUFFIXES
from localrules.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sized

SPLIT_NAMES = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}
EVALUATION = ("eval", "evaluation")  # valid in some data sets and test in others
SYSTEM_FILES = ("thumbs.db", "desktop.ini")
NAMED = 5  # files or folders that a message names


def is_hidden(name: str) -> bool:
    """Whether a file or folder does not count, by its name."""
    # macOS leaves "._name.jpg" beside the files that it copies, and __MACOSX/ in its archives.
    return name.startswith(".") or name == "__MACOSX" or name.lower() in SYSTEM_FILES


def is_image(name: str) -> bool:
    """Whether a file of a folder is taken for an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, except for hidden ones."""
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))


def visible_files(folder: Path) -> Iterator[Path]:
    """All files in a folder and in those inside it, except for hidden ones; a link to a folder is followed once."""
    met: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        met.add(os.path.realpath(place))
        folders[:] = sorted(
            name for name in folders if not is_hidden(name) and os.path.realpath(Path(place, name)) not in met
        )
        yield from (Path(place, name) for name in sorted(names) if not is_hidden(name))


def named_splits(folders: Iterable[str], names: Mapping[str, tuple[str, ...]] = SPLIT_NAMES) -> dict[str, list[str]]:
    """The folders that have a split's name, several for one split included; ``eval`` is a split of its own here.

    Args:
        folders: Their names.
        names: The names of each split, in lower case.
    """
    found: dict[str, list[str]] = {}
    for folder in folders:
        for split, words in {**names, "eval": EVALUATION}.items():
            if folder.lower() in words:
                found.setdefault(split, []).append(folder)
    return found


def split_folders(found: Mapping[str, list[str]], where: str) -> dict[str, str]:
    """The folder of each split, in the order of the splits.

    Args:
        found: From :func:`named_splits`.
        where: The folder they are in, for messages.

    Raises:
        DataError: A split has two folders, or it is not known whether a folder is valid or test.
    """
    found = dict(found)
    for split, places in found.items():
        if len(places) > 1:
            raise DataError(
                f"the folder has two {split} splits",
                where=where,
                why=f"found {some_names(place + '/' for place in places)}",
                fix="take one of them out",
            )
    if "eval" in found:
        # Beside one of valid and test it is the other one; otherwise nobody can know.
        place = found.pop("eval")[0]
        absent = {"valid", "test"} - set(found)
        if len(absent) != 1:
            raise DataError(
                f"{place}/ may be the valid or the test split",
                where=where,
                why=f"beside it are {some_names(other[0] + '/' for other in found.values()) or 'no other splits'}",
                fix="rename it valid or test, or take it out",
            )
        found[absent.pop()] = [place]
    return {split: found[split][0] for split in SPLIT_NAMES if split in found}


def count_of(items: Sized, noun: str) -> str:
    """``"1 file"``, ``"2,000 files"``."""
    return f"{len(items):,} {noun}{'s' * (len(items) != 1)}"


def some_names(items: Iterable[str]) -> str:
    """The first few names, and how many there are besides."""
    names = [printable(item) for item in items]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")


def printable(name: str) -> str:
    """A file's name as it can be printed and stored, also where it is not UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")
