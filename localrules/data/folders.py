"""Names in folders of image files: which are splits, which are images, and which do not count."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.data.images import SUFFIXES
from localrules.data.io import read_error
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
OUR_PLOTS = "localrules-data"
"""The folder that ``localrules data show`` draws into by default; it does not count."""
OUR_RUN = {"config.toml", "metrics.csv"}
"""A folder that holds these is a run's, and does not count."""
NAMED = 5  # files or folders that a message names


def is_hidden(name: str) -> bool:
    """Whether a file or folder does not count, by its name."""
    # macOS leaves "._name.jpg" beside the files that it copies, and __MACOSX/ in its archives.
    return name.startswith(".") or name in ("__MACOSX", OUR_PLOTS) or name.lower() in SYSTEM_FILES


def is_image(name: str) -> bool:
    """Whether a file of a folder is taken for an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, except for hidden ones.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    except OSError as error:
        raise read_error(folder, error) from error


def visible_files(folder: Path) -> Iterator[Path]:
    """All files in a folder and in those inside it, except for hidden ones and the folders of runs.

    Links are followed, but for one to a folder around it. A link to nothing counts as a file, which cannot be read;
    pipes, sockets and devices do not count.

    Raises:
        DataError: A folder cannot be read.
    """
    return _files_below(folder, ())


def _files_below(folder: Path, around: tuple[str, ...]) -> Iterator[Path]:
    around = (*around, os.path.realpath(folder))
    try:
        with os.scandir(folder) as found:
            entries = sorted((entry for entry in found if not is_hidden(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise read_error(folder, error) from error
    if len(around) > 1 and {entry.name for entry in entries} >= OUR_RUN:
        return
    folders = [entry.path for entry in entries if _is_folder(entry)]
    yield from (Path(entry.path) for entry in entries if entry.path not in folders and _is_file(entry))
    for place in folders:
        if os.path.realpath(place) not in around:
            yield from _files_below(Path(place), around)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def _is_file(entry: os.DirEntry[str]) -> bool:
    if entry.is_symlink():
        return os.path.isfile(entry.path) or not os.path.exists(entry.path)
    return entry.is_file()


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
