"""ImageNet (ILSVRC 2012) and Tiny ImageNet: photographs in folders named after WordNet's numbers."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import ClassVar, final

from pydantic import Field

from localrules.data.decoding import ImageForm, Sample, decode_splits
from localrules.data.file_tree import FileTree, open_tree
from localrules.data.folders import count_of, is_image, some_names
from localrules.data.mapped_cache import ArrayStore, Notes
from localrules.errors import DataError
from localrules_vision.source import PublishedSource

WORDNET = re.compile(r"n\d{8}")
ANNOTATIONS = ("val_annotations.txt", "LOC_val_solution.csv")
WORDS = ("words.txt", "LOC_synset_mapping.txt")
LAYOUT = "expected train/<n01234567>/<image> and val/<n01234567>/<image>, or val/<image> with a list of labels"


class WordNetFolders(PublishedSource):
    """The common part. The published validation images are ``valid``; the labels of test are not published."""

    classes = ()  # as the folders say
    missing: ClassVar[dict[str, str]] = {
        "train": "name a folder with train/",
        "valid": f"add val/, in folders of classes or with one of {', '.join(ANNOTATIONS)}",
        "test": "its labels are not published; papers report on the validation images, which are the valid split here",
    }

    class Config(PublishedSource.Config):
        """Options, as ``--set data.<option>=...``."""

        size: int = Field(64, gt=0, le=512, description="Height and width to resize to (ours).")
        skip_unreadable: bool = Field(
            False, description="Leave out images that cannot be read, with a warning, instead of an error."
        )

    config: Config

    def decode(self, path: Path, store: ArrayStore) -> Notes:
        with open_tree(path) as tree:
            samples, numbers, notes = _samples(tree, self.name)
            side = self.config.size
            form = ImageForm((side, side), 3)
            skipped = decode_splits(tree, samples, store, form, skip_unreadable=self.config.skip_unreadable)
            if skipped:
                notes.append(f"{count_of(skipped, 'unreadable image')} left out: {some_names(skipped)}")
            origin = f"a {tree.form} of {len(samples):,} images, resized to {side} x {side}"
            return {"origin": origin, "classes": _class_names(tree, numbers), "warnings": notes}


@final
class TinyImageNet(WordNetFolders):
    """200 classes of ImageNet with 500 train and 50 validation images each, of 64 x 64 pixels."""

    name = "tiny_imagenet"
    places = ("tiny-imagenet-200", "tiny-imagenet-200.zip", "tiny_imagenet")
    get_it = "get tiny-imagenet-200.zip from http://cs231n.stanford.edu/tiny-imagenet-200.zip"


@final
class ImageNet(WordNetFolders):
    """1,000 classes, 1,281,167 train and 50,000 validation images, resized once and kept so in the cache.

    Source: Russakovsky et al. 2015, ImageNet large scale visual recognition challenge, https://arxiv.org/abs/1409.0575.
    The cache takes 3 x size x size bytes an image: 16 GB at 64, 193 GB at 224.
    """

    name = "imagenet"
    places = ("imagenet", "ILSVRC2012")
    get_it = "get ILSVRC 2012 from https://image-net.org or from Kaggle, unpacked into folders"


def _samples(tree: FileTree, name: str) -> tuple[list[Sample], list[str], list[str]]:
    """The samples, the classes' numbers in WordNet, and what has to be said of files that are left out."""
    found: dict[str, dict[str, str]] = {"train": {}, "val": {}}  # the class of each image
    flat: list[str] = []
    outside: list[str] = []
    for file in filter(is_image, tree.names):
        parts = PurePosixPath(file).parts
        at = next((at for at, part in enumerate(parts[:-1]) if part in found), None)
        if at is None:
            continue
        if len(parts) > at + 2 and WORDNET.fullmatch(parts[at + 1]):
            found[parts[at]][file] = parts[at + 1]
        elif parts[at] == "val" and parts[at + 1 : -1] in ((), ("images",)):
            flat.append(file)
        else:
            outside.append(file)
    notes = _outside(outside)
    if flat:
        annotated, absent = _annotated(tree, flat, found["val"])
        found["val"] |= annotated
        notes += absent
    if not found["train"] and not found["val"]:
        raise DataError(
            f"the {tree.form} is not laid out as {name} is",
            where=str(tree.path),
            why=f"{LAYOUT}; found {some_names(tree.names) or 'nothing'}",
            fix="name the folder or archive that holds train/ and val/; other layouts go with --data image_folder",
        )
    numbers = sorted(set((found["train"] or found["val"]).values()))
    labels = {number: label for label, number in enumerate(numbers)}
    if unknown := sorted(set(found["val"].values()) - set(labels)):
        raise DataError(
            "val has classes that train has not",
            where=str(tree.path),
            why=f"found {some_names(unknown)}; train has {len(numbers)} classes",
            fix="complete train/, or take these images out of val/",
        )
    samples = [
        Sample(file, "valid" if split == "val" else split, labels[number])
        for split, files in found.items()
        for file, number in sorted(files.items(), key=lambda item: (item[1], item[0]))
    ]
    return samples, numbers, notes


def _outside(files: list[str]) -> list[str]:
    counts = Counter(f"{PurePosixPath(file).parent}/" for file in files)
    places = some_names(f"{count:,} in {place}" for place, count in counts.items())
    text = f"{count_of(files, 'image')} left out, which lie in no folder named after a class as n01234567: {places}"
    return [text] if files else []


def _annotated(tree: FileTree, files: list[str], others: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The class of each image that lies in val/ itself, by the list that comes with the data set.

    Args:
        tree: The files.
        files: The images in val/ itself.
        others: The images in folders of val/.

    Returns:
        The classes, and what has to be said of the list.
    """
    lists = [name for name in tree.names if PurePosixPath(name).name in ANNOTATIONS]
    if not lists:
        raise DataError(
            "the images in val/ have no labels",
            where=str(tree.path),
            why=f"{count_of(files, 'image')} in no folder of a class, and no {' or '.join(ANNOTATIONS)}",
            fix="sort them into folders named after their classes, or add the list",
        )
    if len(lists) > 1:
        raise DataError(
            "there are several lists of labels",
            where=str(tree.path),
            why=f"found {some_names(lists)}",
            fix="leave the one that belongs to the images in val/",
        )
    labels: dict[str, str] = {}
    for image, number in _rows(tree, lists[0]):
        if labels.setdefault(image, number) != number:
            raise DataError(
                "the list of labels gives an image two classes",
                where=tree.where(lists[0]),
                why=f"{image} has {labels[image]} and {number}",
                fix="take the list that comes with the data set",
            )
    stems = {PurePosixPath(file).stem for file in files}
    in_folders = {PurePosixPath(file).stem: file for file in others}
    if twice := sorted(stems & in_folders.keys()):
        raise DataError(
            "images lie both in val/ itself and in a folder of a class",
            where=str(tree.path),
            why=f"found {some_names(twice)}, for example {in_folders[twice[0]]}",
            fix="take out one of the copies",
        )
    if absent := [file for file in files if PurePosixPath(file).stem not in labels]:
        raise DataError(
            "images in val/ are not in the list of labels",
            where=tree.where(lists[0]),
            why=f"it lacks {some_names(absent)}",
            fix="take the list that belongs to these images",
        )
    missing = sorted(labels.keys() - stems - in_folders.keys())
    notes = [f"{count_of(missing, 'image')} of the list of labels not there: {some_names(missing)}"] if missing else []
    return {file: labels[PurePosixPath(file).stem] for file in files}, notes


def _rows(tree: FileTree, name: str) -> Iterator[tuple[str, str]]:
    """The name of each image, without its ending, and its class."""
    delimiter = "," if name.endswith(".csv") else "\t"
    text = tree.read(name).decode("utf-8", errors="replace")
    reader = csv.reader(text.splitlines(), delimiter=delimiter)
    try:
        for number, row in enumerate(reader, start=1):
            if not row or (number == 1 and row[0] == "ImageId"):
                continue
            words = " ".join(row[1:2]).split()
            if not words or not WORDNET.fullmatch(words[0]):
                raise _bad_row(tree.where(name), number, repr(" ".join(row)[:60]))
            yield PurePosixPath(row[0]).stem, words[0]
    except csv.Error as error:
        raise _bad_row(tree.where(name), reader.line_num, str(error)) from error


def _bad_row(where: str, number: int, found: str) -> DataError:
    return DataError(
        "the list of labels cannot be read",
        where=f"{where}, row {number}",
        why=f"found {found}; expected the name of an image and a class such as n01443537",
        fix="take the list that comes with the data set",
    )


def _class_names(tree: FileTree, numbers: list[str]) -> list[str]:
    """The first word of each class, or its number where the words are not there or not all distinct."""
    lists = [name for name in tree.names if PurePosixPath(name).name in WORDS]
    if not lists:
        return numbers
    rows = tree.read(lists[0]).decode("utf-8", errors="replace").splitlines()
    words = {row[:9]: row[9:].strip().split(",")[0] for row in rows}
    names = [words.get(number) or number for number in numbers]
    return [name if names.count(name) == 1 else number for name, number in zip(names, numbers, strict=True)]
