"""A part of the training split held out to choose by, so that the valid split is read only once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from localrules.data.dataset import fingerprint
from localrules.data.duplicates import near_duplicate_groups

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset

DIVISION_SEED = 0
"""The division is the same for all runs, whatever their seed: their choices are compared on the same images."""


def split_holdout(data: Dataset, fraction: float) -> Dataset:
    """The data set with a part of its training split in the place of its valid split.

    Copies and near duplicates stay on one side. What was valid is left out; test stays.

    Args:
        data: Any.
        fraction: Of the training samples, above 0 and below 1: so many, rounded, or a few more where a group ends.

    Raises:
        DataError: It has no training split.
    """
    train = data.split("train")
    groups = near_duplicate_groups(train.images)
    names, sizes = groups.unique(return_counts=True)
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(DIVISION_SEED))
    before = sizes[order].cumsum(0) - sizes[order]
    chosen = names[order[before < round(fraction * len(train))]]
    held = torch.isin(groups, chosen)
    splits = {**data.splits, "train": train.subset(~held), "valid": train.subset(held)}
    return replace(
        data,
        splits=splits,
        fingerprint=fingerprint(splits),
        origin=f"{data.origin}; valid is {int(held.sum()):,} samples of train, held out",
    )
