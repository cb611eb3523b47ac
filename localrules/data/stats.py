"""Statistics of a data set, and problems in it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from localrules.data.dataset import SPLITS
from localrules.data.duplicates import image_keys

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset


@dataclass(frozen=True)
class SplitStats:
    """One split.

    Attributes:
        rows: How many images.
        by_class: How many of each class, in the order of the classes.
        repeated: Rows that are an exact copy of an earlier row of the same split.
        in_earlier_splits: Rows of which an exact copy is in an earlier split (train before valid before test).
        constant: Rows whose pixels all have one value.
    """

    rows: int
    by_class: dict[str, int]
    repeated: int
    in_earlier_splits: int
    constant: int


@dataclass(frozen=True)
class DatasetStats:
    """A data set.

    Attributes:
        name: What the user calls it.
        origin: Where it comes from.
        fingerprint: The hash of its images and labels.
        redistributable: Whether its images may leave this machine.
        shape: Channels, height and width of an image.
        splits: One report a split.
        rows: How many images in all splits.
        distinct: How many different ones.
        conflicting_images: Distinct images whose copies do not all have the same label.
        conflicting_rows: The rows that show these images.
    """

    name: str
    origin: str
    fingerprint: str
    redistributable: bool
    shape: tuple[int, int, int]
    splits: dict[str, SplitStats]
    rows: int
    distinct: int
    conflicting_images: int
    conflicting_rows: int

    def as_dict(self) -> dict[str, Any]:
        """As ``localrules data show --json`` prints it."""
        return asdict(self)


def dataset_stats(data: Dataset) -> DatasetStats:
    """Look at every image of a data set once."""
    splits: dict[str, SplitStats] = {}
    labels_of: defaultdict[bytes, list[int]] = defaultdict(list)  # of every row that shows this image
    for name in SPLITS:
        if name not in data.splits:
            continue
        split = data.splits[name]
        keys = image_keys(split)
        pixels = split.images.flatten(1)
        counts = torch.bincount(split.labels, minlength=len(data.classes)).tolist()
        splits[name] = SplitStats(
            rows=len(keys),
            by_class=dict(zip(data.classes, counts, strict=True)),
            repeated=len(keys) - len(set(keys)),
            in_earlier_splits=sum(key in labels_of for key in keys),
            constant=int((pixels.amin(1) == pixels.amax(1)).sum()),
        )
        for key, label in zip(keys, split.labels.tolist(), strict=True):
            labels_of[key].append(label)
    conflicts = [labels for labels in labels_of.values() if len(set(labels)) > 1]
    return DatasetStats(
        name=data.name,
        origin=data.origin,
        fingerprint=data.fingerprint,
        redistributable=data.redistributable,
        shape=data.shape,
        splits=splits,
        rows=sum(split.rows for split in splits.values()),
        distinct=len(labels_of),
        conflicting_images=len(conflicts),
        conflicting_rows=sum(len(labels) for labels in conflicts),
    )
