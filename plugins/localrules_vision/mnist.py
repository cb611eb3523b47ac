"""MNIST and Fashion-MNIST: 70,000 images of 28 x 28 grey pixels in ten classes, from ``.npz`` or IDX files.

Sources: LeCun et al. 1998, Gradient-based learning applied to document recognition, https://doi.org/10.1109/5.726791;
Xiao et al. 2017, Fashion-MNIST, https://arxiv.org/abs/1708.07747.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, final

import platformdirs
from pydantic import BaseModel, ConfigDict, Field

from localrules import Dataset, DataSource, Split
from localrules.data.dataset import fingerprint
from localrules.data.io import exists
from localrules.errors import DataError, UsageError
from localrules_vision.mnist_files import read_splits
from localrules_vision.mnist_fingerprints import refuse_other_data_set


class MNISTLike(DataSource):
    """The common part of both data sets. They come with train and test; there is no official valid split."""

    name: ClassVar[str]
    classes: ClassVar[tuple[str, ...]]
    flipped: ClassVar[bool]
    original: ClassVar[str]  # the fingerprint of the published images
    folders: ClassVar[tuple[str, ...]]  # where the IDX files are put; by torchvision, the last one

    class Config(BaseModel):
        """Options, as ``--set data.<option>=...``."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        path: Path | None = Field(
            None,
            description="An .npz file with x_train, y_train, x_test and y_test, or a folder with the four IDX files, "
            "plain or gzipped. Unset: looked for in the usual places.",
        )
        holdout: int = Field(
            0,
            ge=0,
            description="So many samples from the end of train become the valid split, which the source does not have; "
            "0 (ours) leaves the splits as the source gives them.",
        )

    config: Config

    @classmethod
    def find(cls) -> Path | None:
        """The first of ``$LOCALRULES_<NAME>`` and the usual places that is there."""
        chosen = os.environ.get(f"LOCALRULES_{cls.name.upper()}")
        if chosen:
            return Path(chosen)  # even if it is not there: then loading says so
        return next((path for path in cls._usual_places() if path.exists()), None)

    def load(self) -> Dataset:
        path = self.config.path or self.find()
        if path is None:
            raise DataError(
                f"{self.name} was not found on this machine",
                where=", ".join(str(place) for place in self._usual_places()),
                why="we download nothing",
                fix=f"get {self.name}.npz or the four IDX files, and name them with --data-path or in "
                f"LOCALRULES_{self.name.upper()}",
            )
        path = self._inside(path.expanduser())
        splits = read_splits(path, len(self.classes))
        refuse_other_data_set(self.name, splits, path)
        recognised = fingerprint(splits) == self.original
        counts = " and ".join(f"{len(split):,} {name}" for name, split in splits.items())
        origin = f"{path}: {'the original' if recognised else f'unrecognised, {counts} samples'}"
        if self.config.holdout:
            splits = self._hold_out(splits)
            origin += f"; the last {self.config.holdout:,} train samples held out as valid"
        return Dataset(
            name=self.name,
            classes=self.classes,
            splits=splits,
            origin=origin,
            fingerprint=fingerprint(splits),
            redistributable=True,
            missing={
                "valid": f"{self.name} has no official valid split: hold some of train out with --set data.holdout=5000"
            },
            flip_preserves_label=self.flipped,
            recognised=recognised,
        )

    def _hold_out(self, splits: dict[str, Split]) -> dict[str, Split]:
        train = splits["train"]
        kept = len(train) - self.config.holdout
        if kept < 1:
            raise UsageError(
                "more samples are held out than there are",
                where=f"data.holdout={self.config.holdout}",
                why=f"train has {len(train)} samples",
                fix=f"choose a number below {len(train)}",
            )
        return {
            "train": Split(train.images[:kept], train.labels[:kept]),
            "valid": Split(train.images[kept:], train.labels[kept:]),
            "test": splits["test"],
        }

    @classmethod
    def _inside(cls, path: Path) -> Path:
        """The data in a folder that holds several data sets, such as torchvision's root; else the path itself."""
        torchvision = Path(cls.folders[-1]).relative_to("data")
        return next((path / name for name in (f"{cls.name}.npz", torchvision, "raw") if exists(path / name)), path)

    @classmethod
    def _usual_places(cls) -> list[Path]:
        home = platformdirs.user_data_path("localrules")
        files = [folder / f"{cls.name}.npz" for folder in (Path(), Path("data"), home)]
        return [*files, *(Path(name) for name in cls.folders), home / cls.name]


@final
class MNIST(MNISTLike):
    """Handwritten digits. A flipped digit is not a digit, so augmentation does not flip unless told to."""

    name = "mnist"
    classes = tuple("0123456789")
    flipped = False
    original = "4664d74f32f1961086ed9125358375a62f745d1e35fd3efea920f6cf8950ffc5"
    folders = ("mnist", "data/mnist", "data/MNIST/raw")


@final
class FashionMNIST(MNISTLike):
    """Pieces of clothing."""

    name = "fashion_mnist"
    classes = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    flipped = True
    original = "e7413eceb54df2aeaafc1fee4c9b1732d1eb8eca1f8a9074fd7f9eb7382750f4"
    folders = ("fashion_mnist", "data/fashion_mnist", "data/FashionMNIST/raw")
