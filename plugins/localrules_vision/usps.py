"""USPS: 16 x 16 grey handwritten digits, from the text files of LIBSVM."""

from __future__ import annotations

from typing import final

import numpy as np

from localrules.data.file_tree import FileTree
from localrules_vision.array_source import ArraySource
from localrules_vision.holdout import Arrays
from localrules_vision.reading import DataFile, checked_split, read_file, wrong_format

SHAPE = (1, 16, 16)
PIXELS = 256


@final
class USPS(ArraySource):
    """Digits of postal codes, 7,291 train and 2,007 test.

    Source: Hull 1994, A database for handwritten text recognition research, https://doi.org/10.1109/34.291440; files of
    https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets.
    """

    name = "usps"
    classes = tuple("0123456789")
    places = ("usps", "USPS")
    flip_preserves_label = False
    torchvision = "USPS"
    downloads = ({"train": True}, {"train": False})
    get_it = "put usps.bz2 and usps.t.bz2 from https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets into a folder"
    md5 = ("ec16c51db3855ca6c91edd34d0e9b197", "8ea070ee2aca1ac39742fdd1ef5ed118")

    def read(self, tree: FileTree) -> tuple[dict[str, Arrays], list[str]]:
        files = {"train": read_file(tree, ("usps.bz2", "usps")), "test": read_file(tree, ("usps.t.bz2", "usps.t"))}
        splits = {
            split: checked_split(*_parse(file), SHAPE, len(self.classes), file.where) for split, file in files.items()
        }
        return splits, [file.md5 for file in files.values()]


def _parse(file: DataFile) -> Arrays:
    """Rows ``LABEL 1:VALUE 2:VALUE ...`` with labels from 1 and values from -1 to 1, made bytes as by torchvision."""
    rows = file.content.split(b"\n")
    values, labels = [], []
    for number, row in enumerate(rows, start=1):
        words = row.split()
        if not words:
            continue
        try:
            pairs = [word.split(b":") for word in words[1:]]
            places = [int(place) for place, _ in pairs]
            pixels = np.array([float(value) for _, value in pairs])
            label = float(words[0])
        except ValueError as error:
            raise wrong_format(f"{file.where}, row {number}", str(error), "LABEL 1:VALUE 2:VALUE ...") from None
        if places != list(range(1, PIXELS + 1)) or not (np.abs(pixels) <= 1).all():
            found = f"{len(places)} values" if len(places) != PIXELS else "values out of order or range"
            raise wrong_format(f"{file.where}, row {number}", found, f"{PIXELS} values from -1 to 1, in order")
        if not label.is_integer():  # nor are inf and nan
            found = f"the label {words[0].decode(errors='backslashreplace')}"
            raise wrong_format(f"{file.where}, row {number}", found, "an integer from 1 to 10")
        values.append(pixels)
        labels.append(int(label) - 1)
    if not labels:
        raise wrong_format(file.where, "no rows", "one for each image")
    images = (np.array(values, dtype=np.float32) + 1) / 2 * 255
    return images.astype(np.uint8).reshape(-1, *SHAPE), np.array(labels)
