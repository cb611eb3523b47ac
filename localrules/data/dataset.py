"""A data set in memory: images as uint8, labels, and what may be done with them."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from localrules.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SPLITS = ("train", "valid", "test")
CHUNK_SAMPLES, CHUNK_VALUES = 1024, 1 << 22


def fingerprint(splits: dict[str, Split]) -> str:
    """A hash of all images, labels and their order: equal exactly where training would be."""
    digest = hashlib.sha256()
    for name in SPLITS:
        if name in splits:
            split = splits[name]
            digest.update(f"{name} {tuple(split.images.shape)}".encode())
            digest.update(split.images.cpu().contiguous().numpy().data)
            digest.update(split.labels.cpu().contiguous().numpy().data)
    return digest.hexdigest()


def image_chunks(images: Tensor) -> tuple[Tensor, ...]:
    """Images in parts of a few million values, of 1024 images at most: converted one by one, they fit into memory.

    Args:
        images: uint8, shape (samples, channels, height, width), maybe mapped from the disk.
    """
    values = images[:1].numel() or 1
    return images.split(max(1, min(CHUNK_SAMPLES, CHUNK_VALUES // values)))


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Attributes:
        images: uint8, shape (samples, channels, height, width).
        labels: int64, shape (samples,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return self.images.shape[0]

    def subset(self, chosen: Tensor) -> Split:
        """Some of its samples, by a mask or by indices."""
        return Split(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Dataset:
    """Splits with what is known of them.

    Attributes:
        name: The word the user typed.
        classes: The label names; label ``i`` is ``classes[i]``.
        splits: Some of ``train``, ``valid`` and ``test``, as the source gives them: never re-split, never merged, but
            where a run asks to hold some of ``train`` out.
        origin: Where the images come from, as a person would say it ("fer2013.csv, the original").
        fingerprint: A hash of the source, kept with a run so that resuming on other data is refused.
        redistributable: Whether images may leave this machine (logged to a tracker, shown in docs).
        missing: For a split that is not there, why and what to do.
        flip_preserves_label: Whether a flipped image keeps its label (faces do, digits do not): whether
            augmentation flips by default.
        max_plausible_accuracy: The top-1 on valid or test above which, by all that is published, a leak is likelier
            than a good network; ``None`` where nothing is known.
        recognised: False where the checksums of the published files are known, and these are others: accuracies on
            them are not compared with published ones.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    origin: str
    fingerprint: str
    redistributable: bool
    missing: dict[str, str] = field(default_factory=dict)
    flip_preserves_label: bool = True
    max_plausible_accuracy: float | None = None
    recognised: bool = True

    def split(self, name: str) -> Split:
        """The split of that name.

        Raises:
            DataError: The source has no such split.
        """
        if name in self.splits:
            return self.splits[name]
        raise DataError(
            f"{self.name} has no {name!r} split",
            where=self.origin,
            why=f"it has {', '.join(self.splits) or 'none'}",
            fix=self.missing.get(name, "choose one of these splits, or another file"),
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        first = next(iter(self.splits.values()))
        return tuple(first.images.shape[1:])  # type: ignore[return-value]


class DataSource(ABC):
    """Loads one data set. A plugin's ``DataEntry`` names a subclass.

    ``Config`` is a pydantic model of the options, filled from ``--set data.<option>=...``; ``--data-path`` fills
    ``path`` where the source has that option.
    """

    class Config(BaseModel):
        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, config: BaseModel) -> None:
        self.config = config

    @classmethod
    def find(cls) -> Path | None:
        """The location of this data set on this machine if the user gives no path, or ``None``.

        ``run`` without ``--data`` takes a data set that is found over the built-in one. A source that needs no file
        has nothing to find.
        """
        return None

    @abstractmethod
    def load(self) -> Dataset:
        """Read the data set into memory. The result is checked once, by :func:`localrules.data.validate.check_dataset`.

        Raises:
            DataError: The source is missing or damaged; the message says where and what to do.
        """
