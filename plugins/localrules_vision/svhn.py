"""SVHN: 32 x 32 house numbers in colour, cropped to digits."""

from __future__ import annotations

import io
from typing import Any, final

import numpy as np
from pydantic import Field

from localrules.data.file_tree import FileTree
from localrules.data.io import AGAIN
from localrules.errors import DataError, MissingDependencyError
from localrules_vision.array_source import ArraySource
from localrules_vision.holdout import Arrays
from localrules_vision.mat_file import check_mat
from localrules_vision.reading import DataFile, checked_split, read_file, wrong_format

SHAPE = (3, 32, 32)


@final
class SVHN(ArraySource):
    """Digits of house numbers: 73,257 train, 26,032 test, and 531,131 easier ones in extra.

    Source: Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning,
    http://ufldl.stanford.edu/housenumbers. For non-commercial use.
    """

    name = "svhn"
    version = 3
    classes = tuple("0123456789")
    places = ("svhn", "SVHN")
    flip_preserves_label = False
    torchvision = "SVHN"
    downloads = ({"split": "train"}, {"split": "test"})
    get_it = "put train_32x32.mat and test_32x32.mat from http://ufldl.stanford.edu/housenumbers into a folder"
    md5 = (
        *("e26dedcc434d2e4c54c9b2d4a06d8373", "eb5a983be6a315427106f1b164d9cef3"),
        "a93ce644f1a588dc4d68dda5feec44a7",
    )

    class Config(ArraySource.Config):
        """Options, as ``--set data.<option>=...``."""

        extra: bool = Field(
            False, description="Train on extra_32x32.mat, too; the valid split is still of train_32x32.mat."
        )

    config: Config

    def read(self, tree: FileTree) -> tuple[dict[str, Arrays], list[str]]:
        # The last samples of each class become the valid split: those of extra are easier, and so come first.
        names = {"train": ["extra"] * self.config.extra + ["train"], "test": ["test"]}
        splits: dict[str, Arrays] = {}
        digests: list[str] = []
        for split, parts in names.items():
            files = [read_file(tree, (f"{part}_32x32.mat",)) for part in parts]
            arrays = [_read_mat(file) for file in files]
            images, labels = (np.concatenate([array[at] for array in arrays]) for at in (0, 1))
            splits[split] = checked_split(images, labels, SHAPE, len(self.classes), files[0].where)
            digests += [file.md5 for file in files]
        return splits, digests


def _read_mat(file: DataFile) -> tuple[Any, Any]:
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise MissingDependencyError(
            "svhn needs scipy",
            where="--data svhn",
            why=f"it cannot be imported: {error}",
            fix='pip install "localrules[mat]"',
        ) from error
    try:
        if file.md5 not in SVHN.md5:
            check_mat(file.content)
        found = loadmat(io.BytesIO(file.content), variable_names=["X", "y"])
    except Exception as error:  # a damaged file raises whatever its bytes happen to mean
        raise DataError("the .mat file cannot be read", where=file.where, why=str(error), fix=AGAIN) from error
    if absent := [name for name in ("X", "y") if name not in found]:
        raise wrong_format(file.where, f"no array {' and no array '.join(absent)}", "the arrays X and y")
    images, labels = found["X"], found["y"]
    if images.ndim != 4 or images.shape[:3] != (32, 32, 3):
        raise wrong_format(file.where, f"X of shape {images.shape}", "(32, 32, 3, samples)")
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        raise wrong_format(file.where, f"y that is {getattr(labels, 'dtype', type(labels))}", "an array of integers")
    numbers = labels.ravel().astype(np.int64)
    numbers[numbers == len(SVHN.classes)] = 0  # the digit 0 has the label 10
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), numbers
