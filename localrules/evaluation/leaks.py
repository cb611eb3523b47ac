"""Whether pictures that are scored were learned from: as they are, mirrored, or as another copy of one photograph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from localrules.data.dataset import Split
from localrules.data.duplicates import picture_keys
from localrules.data.near_copies import ALIKE, ROWS_AT_ONCE, thumbnails

if TYPE_CHECKING:
    from torch import Tensor

    from localrules.engine.scores import Scores


@dataclass(frozen=True)
class LeakCheck:
    """What was found when the scored rows were looked for among the training rows.

    Attributes:
        rows, training_rows: How many rows were looked for, and among how many.
        copies: Scored rows whose very pixels were trained on.
        mirrored: Others whose mirror image was trained on, pixel by pixel.
        alike: Others that show, as they are or mirrored, the same photograph as a training row.
        top1: Of all rows.
        n_clean: The rows that are none of these.
        top1_clean: Of these alone; ``None`` if there are none.
    """

    rows: int
    training_rows: int
    copies: int
    mirrored: int
    alike: int
    top1: float
    n_clean: int
    top1_clean: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def look_for_leaks(scored: Split, learned: Split, scores: Scores) -> LeakCheck:
    """Look for the rows of a split among those that a network learned from.

    Args:
        scored: The pictures that were scored.
        learned: The training rows.
        scores: The network's answers to ``scored``.
    """
    known = set(picture_keys(learned))
    copies = _among(scored, known)
    mirrored = _among(Split(scored.images.flip(-1), scored.labels), known) & ~copies
    alike = (closest(scored.images, learned.images) > ALIKE) & ~copies & ~mirrored
    clean = ~(copies | mirrored | alike)
    return LeakCheck(
        rows=len(scored),
        training_rows=len(learned),
        copies=int(copies.sum()),
        mirrored=int(mirrored.sum()),
        alike=int(alike.sum()),
        top1=scores.top1,
        n_clean=int(clean.sum()),
        top1_clean=scores.only(clean).top1 if bool(clean.any()) else None,
    )


def closest(images: Tensor, others: Tensor) -> Tensor:
    """How much each picture is like the likest of others, as it is or mirrored.

    Args:
        images: uint8, shape (rows, channels, height, width).
        others: uint8, shape (other rows, channels, height, width).

    Returns:
        The correlation of the pictures' thumbnails, at most 1, shape (rows,); 0 for a constant picture.
    """
    references = thumbnails(others).T
    either_way = [thumbnails(images), thumbnails(images.flip(-1))]
    found = [torch.cat([(chunk @ references).amax(1) for chunk in way.split(ROWS_AT_ONCE)]) for way in either_way]
    return torch.maximum(*found)


def _among(split: Split, known: set[bytes]) -> Tensor:
    return torch.tensor([key in known for key in picture_keys(split)], dtype=torch.bool)
