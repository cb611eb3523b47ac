"""Folders of images: which of them are splits, which are classes, and which images lie outside both."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from unicodedata import normalize

from localrules.data.decoding import Sample
from localrules.data.folders import (
    SPLIT_NAMES,
    count_of,
    is_image,
    named_splits,
    printable,
    some_names,
    split_folders,
)
from localrules.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from localrules.data.file_tree import FileTree

LAYOUT = "expected <split>/<class>/<image>, with train/, valid/ and test/, or <class>/<image>"
WRAPPED = 3  # levels of folders around the splits or classes that are looked through, as archives unpack to
IMAGE_AND_CLASS = 2  # parts of a name


@dataclass(frozen=True)
class Layout:
    """The classes and samples of a tree of image files.

    Attributes:
        classes: Their names; a sample's label is an index into them.
        samples: The images by split, class and name. Where there are no splits, all are in ``train``.
        has_splits: Whether there are folders of splits.
        notes: What has to be said of the files.
    """

    classes: tuple[str, ...]
    samples: list[Sample]
    has_splits: bool
    notes: list[str] = field(default_factory=list)

    def count(self, split: str) -> int:
        """The number of samples of a split."""
        return sum(sample.split == split for sample in self.samples)


def read_layout(tree: FileTree, known: Mapping[str, int] | None = None, classes: tuple[str, ...] = ()) -> Layout:
    """Find the samples of a tree of files.

    Args:
        tree: The files.
        known: The label of each folder's name in lower case, for a data set whose classes are known. Else every name is
            a class; they are sorted, by their numbers if all are numbers.
        classes: The classes of ``known``.

    Raises:
        DataError: There are no images in folders of classes, splits are ambiguous, a class is not known, or a class of
            another split does not occur in train.
    """
    every = {name: PurePosixPath(name).parts for name in tree.names if is_image(name)}
    root = _root(list(every.values()))
    inner = {name: parts[len(root) :] for name, parts in every.items() if parts[: len(root)] == root}
    found = named_splits(dict.fromkeys(parts[0] for parts in inner.values() if len(parts) > IMAGE_AND_CLASS))
    splits = {folder: split for split, folder in split_folders(found, str(tree.path)).items()}
    above = 1 if splits else 0
    placed = {
        # macOS writes é as e and an accent, other systems as one character: the class is the same.
        name: (splits.get(parts[0], "train"), normalize("NFC", parts[above]))
        for name, parts in inner.items()
        if len(parts) >= IMAGE_AND_CLASS + above and (not splits or parts[0] in splits)
    }
    if not placed:
        raise _no_images(tree)
    if known is None and not splits and (refusal := only_splits({folder for _, folder in placed.values()})):
        raise DataError(
            "the folders of splits hold images, and no folders of classes",
            where=str(tree.path),
            why=f"{LAYOUT}; {refusal}",
            fix="sort the images of each split into folders of their classes",
        )
    labels = _labels(tree, placed.values()) if known is None else _known_labels(tree, placed.values(), known)
    order = {split: number for number, split in enumerate(("train", "valid", "test"))}
    samples = [Sample(name, split, labels[folder]) for name, (split, folder) in placed.items()]
    samples.sort(key=lambda sample: (order[sample.split], sample.label, sample.name))
    notes = [*_outside(every, len(root), placed), *_no_images_by_name(tree)]
    if known is None:
        classes = tuple(printable(folder) for folder in labels)
    return Layout(classes, samples, bool(splits), notes)


def only_splits(classes: Collection[str]) -> str:
    """The reason to refuse classes that all go by the names of splits; empty for others."""
    names = {name for every in SPLIT_NAMES.values() for name in every}
    return f"found the classes {some_names(sorted(classes))}" if names.issuperset(map(str.lower, classes)) else ""


def _root(images: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The folder that holds the splits or the classes: the one around everything, or the one that has a train split.

    Args:
        images: The parts of their names.
    """
    root = _around(images)
    level = len(root)
    if named_splits(
        {parts[level] for parts in images if parts[:level] == root and len(parts) > level + IMAGE_AND_CLASS}
    ):
        return root
    # Images beside a wrapped tree, such as a cover or screenshots, do not make classes of the folders around it.
    holders = {
        parts[:level]
        for parts in images
        for level in range(WRAPPED + 1)
        if len(parts) > level + IMAGE_AND_CLASS and parts[level].lower() in SPLIT_NAMES["train"]
    }
    return holders.pop() if len(holders) == 1 else root


def _around(images: list[tuple[str, ...]]) -> tuple[str, ...]:
    """The folders that lie one in another around all images in folders. A split's folder is never one of them."""
    root: tuple[str, ...] = ()
    for level in range(WRAPPED):
        inside = [parts for parts in images if parts[:level] == root and len(parts) > level + 1]
        folders = {parts[level] for parts in inside}
        if len(folders) != 1 or named_splits(folders) or any(len(parts) == level + IMAGE_AND_CLASS for parts in inside):
            break
        root = (*root, folders.pop())
    return root


def _labels(tree: FileTree, places: Iterable[tuple[str, str]]) -> dict[str, int]:
    """The label of each class folder."""
    of_split: dict[str, set[str]] = {}
    for split, folder in places:
        of_split.setdefault(split, set()).add(folder)
    everywhere = set().union(*of_split.values())
    for split, folders in of_split.items():
        if unknown := sorted(folders - of_split.get("train", everywhere)):
            raise DataError(
                f"the {split} split has classes that train has not",
                where=str(tree.path),
                why=f"found {some_names(folder + '/' for folder in unknown)}; "
                f"train has {some_names(sorted(of_split['train']))}",
                fix="name the folders of a class alike in all splits, or take these out",
            )
    numbers = all(folder.isascii() and folder.isdigit() for folder in everywhere)
    ordered = sorted(everywhere, key=(lambda folder: (int(folder), folder)) if numbers else None)
    return {folder: label for label, folder in enumerate(ordered)}


def _known_labels(tree: FileTree, places: Iterable[tuple[str, str]], known: Mapping[str, int]) -> dict[str, int]:
    labels: dict[str, int] = {}
    for folder in sorted({folder for _, folder in places}):
        if folder.lower() not in known:
            raise DataError(
                "the folder names an unknown class",
                where=str(tree.path),
                why=f"found {printable(folder)}/; expected {some_names(known)}",
                fix="rename the folder, take it out, or load it with --data image_folder",
            )
        labels[folder] = known[folder.lower()]
    return labels


def _outside(images: Mapping[str, tuple[str, ...]], level: int, placed: Mapping[str, object]) -> list[str]:
    rest = [parts[:-1][: level + 1] for name, parts in images.items() if name not in placed]
    counts = Counter(f"{'/'.join(folders)}/" if folders else "the folder itself" for folders in rest)
    places = some_names(f"{count:,} in {place}" for place, count in counts.items())
    return [f"{count_of(rest, 'image')} left out, which lie in no folder of a class: {places}"] if rest else []


def _no_images_by_name(tree: FileTree) -> list[str]:
    others = [name for name in tree.names if not is_image(name)]
    return [f"{count_of(others, 'file')} left out, no images by their names: {some_names(others)}"] if others else []


def _no_images(tree: FileTree) -> DataError:
    return DataError(
        f"the {tree.form} holds no images in folders of classes",
        where=str(tree.path),
        why=f"{LAYOUT}; found {some_names(tree.names) or 'nothing'}",
        fix="name the folder or archive that holds the folders of classes",
    )
