"""Which pictures are exact copies of others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch

from localrules.data.dataset import SPLITS

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.data.dataset import DataSet, Split


def picture_keys(split: Split) -> list[bytes]:
    """A key for each row, equal where, and only where, all pixels are."""
    rows = split.images.cpu().flatten(1).contiguous().numpy()
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows]


def seen_before(data: DataSet, split: str) -> Tensor:
    """Which rows of a split have pixels that also occur in an earlier split: train before valid before test.

    A network that was trained on the earlier splits has met these pictures; an honest figure leaves them out. Splits
    that the data set lacks cannot be looked into.

    Returns:
        bool, shape (rows,).

    Raises:
        DataError: There is no such split.
    """
    earlier = [data.splits[name] for name in SPLITS[: SPLITS.index(split)] if name in data.splits]
    met = {key for other in earlier for key in picture_keys(other)}
    return torch.tensor([key in met for key in picture_keys(data.split(split))], dtype=torch.bool)
