"""STL-10: 96 x 96 colour photographs, few of them with labels."""

from __future__ import annotations

from typing import final

import numpy as np
import torch
from torch import Tensor

from localrules.data.file_tree import FileTree
from localrules.data.io import read_error
from localrules.errors import DataError
from localrules_vision.array_source import ArraySource
from localrules_vision.holdout import Arrays
from localrules_vision.reading import checked_split, read_file, wrong_format

SHAPE = (3, 96, 96)
PIXELS = 3 * 96 * 96


@final
class STL10(ArraySource):
    """Ten classes with 500 train and 800 test images each; 100,000 more have no labels.

    Source: Coates, Ng & Lee 2011, https://proceedings.mlr.press/v15/coates11a.html. The images come from ImageNet.
    """

    name = "stl10"
    classes = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
    places = ("stl10_binary", "stl10_binary.tar.gz", "stl10")
    torchvision = "STL10"
    get_it = "get stl10_binary.tar.gz from https://cs.stanford.edu/~acoates/stl10"
    md5 = (
        *("918c2871b30a85fa023e0c44e0bee87f", "5a34089d4802c674881badbb80307741"),
        *("7f263ba9f9e0b06b93213547f721ac82", "36f9794fa4beb8a2c72628de14fa638e"),
    )

    def read(self, tree: FileTree) -> tuple[dict[str, Arrays], list[str]]:
        splits: dict[str, Arrays] = {}
        digests: list[str] = []
        for split in ("train", "test"):
            images, labels = (read_file(tree, (f"{split}_{part}.bin",)) for part in "Xy")
            if len(images.content) % PIXELS:
                expected = f"a multiple of {PIXELS:,}, the size of an image"
                raise wrong_format(images.where, f"{len(images.content):,} bytes", expected)
            # Images are stored column by column; labels count from 1.
            pixels = np.frombuffer(images.content, np.uint8).reshape(-1, *SHAPE).transpose(0, 1, 3, 2)
            numbers = np.frombuffer(labels.content, np.uint8).astype(np.int64) - 1
            splits[split] = checked_split(pixels, numbers, SHAPE, len(self.classes), labels.where)
            digests += [images.md5, labels.md5]
        return splits, digests

    def unlabelled(self) -> Tensor:
        """The images without labels, for training loops of one's own: a run needs labels for its readout.

        Returns:
            uint8, shape (samples, 3, 96, 96), mapped from ``unlabeled_X.bin`` in the unpacked folder. Read it only.

        Raises:
            DataError: There is no such file, or it has another size.
        """
        path = self.location()
        file = path / "unlabeled_X.bin"
        try:
            size = file.stat().st_size
        except OSError as error:
            if path.is_dir():
                raise read_error(file, error) from error
            raise DataError(
                "the unlabelled images are read from the unpacked folder alone",
                where=str(path),
                why="they take 2.7 GB, which are mapped from their file",
                fix="unpack the archive, and name the folder",
            ) from error
        if not size or size % PIXELS:
            raise wrong_format(str(file), f"{size:,} bytes", f"a multiple of {PIXELS:,}, the size of an image")
        pixels = np.memmap(file, np.uint8, mode="c")
        return torch.from_numpy(pixels.reshape(-1, *SHAPE)).transpose(2, 3)
