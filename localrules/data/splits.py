"""A part of the training split held out to choose by, so that the valid split is read only once."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import torch

from localrules.data.dataset import CHUNK_VALUES, fingerprint
from localrules.data.duplicates import near_duplicate_groups
from localrules.data.mapped_cache import load_splits
from localrules.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.data.dataset import Dataset, Split
    from localrules.data.mapped_cache import ArrayStore, Notes

LARGEST_GROUP, SMALL_GROUP = 10, 20
"""Groups of near duplicates above a tenth of the part, and above so many images, are not held out (ours)."""
IN_MEMORY = 1 << 30
"""Bytes of a training split up to which its parts are copied in memory; parts of a larger one are files of the cache,
mapped as the whole is."""
"""The division is the same for all runs, whatever their seed: their choices are compared on the same images."""


def split_holdout(data: Dataset, fraction: float, seed: int = 0) -> Dataset:
    """The data set with a part of its training split in the place of its valid split.

    Copies and near duplicates stay on one side: they are a group. Groups of more than a tenth of the part stay in train
    (of more than 20 in a part of less than 200): in images as simple as digits nearly a whole class may be near
    duplicates of each other, and the part would be of little else. What was valid is left out; test stays.

    Args:
        data: Any.
        fraction: Of the training samples, above 0 and below 1: so many, rounded, or a few more where a group ends.
        seed: Draws which.

    Raises:
        DataError: It has no training split, or cannot be divided so.
    """
    train = data.split("train")
    groups = near_duplicate_groups(train.images)
    names, sizes = groups.unique(return_counts=True)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    count = round(fraction * len(train))
    order = order[sizes[order] <= min(count, max(count // LARGEST_GROUP, SMALL_GROUP))]
    before = sizes[order].cumsum(0) - sizes[order]
    chosen = names[order[before < count]]
    held = torch.isin(groups, chosen)
    _check_division(data, held, count, fraction, largest=int(sizes.max()))
    if train.images.numel() <= IN_MEMORY:
        splits = {**data.splits, "train": train.subset(~held), "valid": train.subset(held)}
        identity = fingerprint(splits)
    else:
        key = sha256(f"{data.fingerprint} {fraction} {seed}".encode()).hexdigest()
        found = load_splits("holdout-3", key, lambda store: _store(store, train, held))
        splits = {**data.splits, **found.splits}
        identity = sha256(f"{data.fingerprint} {found.fingerprint}".encode()).hexdigest()
    return replace(
        data,
        splits=splits,
        fingerprint=identity,
        origin=f"{data.origin}; valid is {int(held.sum()):,} samples of train, held out",
    )


def _check_division(data: Dataset, held: Tensor, count: int, fraction: float, largest: int) -> None:
    found = int(held.sum())
    where = f"holdout_fraction={fraction:g} of the {len(held):,} samples of train of {data.name}"
    if count < 1:
        raise DataError("nothing would be held out", where=where, why="that is less than a sample", fix="hold out more")
    if found == len(held):
        raise DataError("nothing would be left to train on", where=where, why="all are held out", fix="hold out less")
    if found < count / 2:
        raise DataError(
            "too little can be held out without dividing near duplicates",
            where=where,
            why=f"up to {largest:,} samples are near duplicates of each other and stay on one side; {found:,} of "
            f"{count:,} could be held out",
            fix="hold out a larger fraction, or take the copies out of the data; a valid split of your own needs no "
            "holdout_fraction",
        )


def _store(store: ArrayStore, train: Split, held: Tensor) -> Notes:
    """Write the two parts of a training split, a few million values at a time."""
    for name, chosen in (("train", ~held), ("valid", held)):
        places = chosen.nonzero()[:, 0]
        images, labels = store.allocate_split(name, len(places), tuple(train.images.shape[1:]))
        labels[...] = train.labels[places].numpy()
        size = max(1, CHUNK_VALUES // (train.images[:1].numel() or 1))
        for start in range(0, len(places), size):
            images[start : start + size] = train.images[places[start : start + size]].numpy()
    return {}
