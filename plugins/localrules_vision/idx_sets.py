"""KMNIST and EMNIST: 28 x 28 grey characters in the IDX files of MNIST."""

from __future__ import annotations

import string
from typing import Literal, final

import torch
from pydantic import Field

from localrules import Split
from localrules.data.file_tree import FileTree
from localrules.data.idx import parse_idx
from localrules_vision.array_source import ArraySource
from localrules_vision.holdout import Arrays
from localrules_vision.mnist_fingerprints import KMNIST_FILES, refuse_folder_of_another, refuse_other_data_set
from localrules_vision.reading import checked_split, read_file

SHAPE = (1, 28, 28)


def read_idx_split(tree: FileTree, names: tuple[str, str]) -> tuple[Arrays, str, list[str]]:
    """The images, with one channel, and the labels of a split; a name for messages; and the md5 of both files."""
    files = [read_file(tree, (f"{name}.gz", name, name.replace("-idx", ".idx"))) for name in names]
    images, labels = (parse_idx(file.content, 3 - 2 * at, file.where) for at, file in enumerate(files))
    return (images[:, None], labels), files[1].where, [file.md5 for file in files]


@final
class KMNIST(ArraySource):
    """Ten cursive Japanese characters, 60,000 train and 10,000 test. A flipped character is another."""

    name = "kmnist"
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    places = ("KMNIST/raw", "kmnist")
    redistributable = True
    flip_preserves_label = False
    torchvision = "KMNIST"
    get_it = "get the four IDX files from https://github.com/rois-codh/kmnist"
    md5 = KMNIST_FILES

    def read(self, tree: FileTree) -> tuple[dict[str, Arrays], list[str]]:
        splits: dict[str, Arrays] = {}
        digests: list[str] = []
        for split, prefix in (("train", "train"), ("test", "t10k")):
            names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
            arrays, where, own = read_idx_split(tree, names)
            splits[split] = checked_split(*arrays, SHAPE, len(self.classes), where)
            refuse_other_data_set(self.name, {split: Split(*map(torch.tensor, splits[split]))}, where)
            refuse_folder_of_another(self.name, where)
            digests += own
        return splits, digests


_MERGED = "cijklmopsuvwxyz"  # capital and small letters that look alike
_CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_BALANCED = tuple(character for character in _CHARACTERS if character not in _MERGED)
VARIANTS: dict[str, tuple[str, ...]] = {
    "balanced": _BALANCED,
    "byclass": tuple(_CHARACTERS),
    "bymerge": _BALANCED,
    "letters": tuple(string.ascii_lowercase),
    "digits": tuple(string.digits),
    "mnist": tuple(string.digits),
}
"""The divisions of EMNIST, with their classes."""


@final
class EMNIST(ArraySource):
    """Handwritten letters and digits, in one of six divisions."""

    name = "emnist"
    classes = VARIANTS["balanced"]
    places = ("EMNIST/raw", "gzip.zip", "emnist")
    flip_preserves_label = False
    torchvision = "EMNIST"
    downloads = ({"split": "balanced"},)  # all divisions come in one file
    get_it = "get gzip.zip from https://www.nist.gov/itl/products-and-services/emnist-dataset"
    md5 = ("58c8d27c78d21e728a6bc7b3cc06412e",)  # of gzip.zip; the files in it have none that is published

    class Config(ArraySource.Config):
        """Options, as ``--set data.<option>=...``."""

        variant: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = Field(
            "balanced", description="The division: which classes, and how many samples of each."
        )

    config: Config

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.classes = VARIANTS[config.variant]  # type: ignore[misc]

    def read(self, tree: FileTree) -> tuple[dict[str, Arrays], list[str]]:
        splits: dict[str, Arrays] = {}
        digests: list[str] = []
        for split in ("train", "test"):
            prefix = f"emnist-{self.config.variant}-{split}"
            names = (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte")
            (images, labels), where, own = read_idx_split(tree, names)
            if self.config.variant == "letters":
                labels = labels.astype(int) - 1  # they count from 1
            # The files hold the images with their rows and columns exchanged.
            splits[split] = checked_split(images.transpose(0, 1, 3, 2), labels, SHAPE, len(self.classes), where)
            digests += own
        return splits, digests
