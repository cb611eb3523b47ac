"""Whether images that are scored were learned from: as they are, flipped, or as another copy of one photograph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from localrules.data.dataset import Split
from localrules.data.duplicates import CHUNK_SIZE, NEAR_DUPLICATE_THRESHOLD, image_keys, thumbnails

if TYPE_CHECKING:
    from localrules.engine.scores import Scores


@dataclass(frozen=True)
class LeakMask:
    """Which samples of a split are known from training: bool, shape (samples,), each sample in one of them at most.

    Attributes:
        copies: Their very pixels were trained on.
        flipped: Their horizontal flip was, pixel by pixel.
        near_duplicates: They show, as they are or flipped, the same photograph as a training sample.
        training_samples: Among how many samples they were looked for.
    """

    copies: Tensor
    flipped: Tensor
    near_duplicates: Tensor
    training_samples: int

    @classmethod
    def find(cls, scored: Split, learned: Split) -> LeakMask:
        """Look for the samples of a split among those that a network learned from."""
        known = set(image_keys(learned))
        copies = _membership(scored, known)
        flipped = _membership(Split(scored.images.flip(-1), scored.labels), known) & ~copies
        alike = (max_similarity(scored.images, learned.images) > NEAR_DUPLICATE_THRESHOLD) & ~copies & ~flipped
        return cls(copies, flipped, alike, len(learned))

    @property
    def clean(self) -> Tensor:
        """The samples that are none of these."""
        return ~(self.copies | self.flipped | self.near_duplicates)


@dataclass(frozen=True)
class LeakCheck:
    """The result of looking for the scored samples among the training samples.

    Attributes:
        samples, training_samples: How many samples were looked for, and among how many.
        copies: Scored samples whose very pixels were trained on.
        flipped: Others whose horizontal flip was trained on, pixel by pixel.
        near_duplicates: Others that show, as they are or flipped, the same photograph as a training sample.
        top1: Of all samples.
        n_clean: The samples that are none of these.
        top1_clean: Of these alone; ``None`` if there are none.
    """

    samples: int
    training_samples: int
    copies: int
    flipped: int
    near_duplicates: int
    top1: float
    n_clean: int
    top1_clean: float | None

    def as_dict(self) -> dict[str, Any]:
        """As scores and summaries keep it in JSON."""
        return {
            "rows": self.samples,
            "training_rows": self.training_samples,
            "copies": self.copies,
            "mirrored": self.flipped,
            "alike": self.near_duplicates,
            "top1": self.top1,
            "n_clean": self.n_clean,
            "top1_clean": self.top1_clean,
        }


def check_leakage(known: LeakMask, scores: Scores) -> LeakCheck:
    """The effect on top-1 of samples that are known from training.

    Args:
        known: Which samples those are.
        scores: The network's answers to the split.
    """
    clean = known.clean
    return LeakCheck(
        samples=len(clean),
        training_samples=known.training_samples,
        copies=int(known.copies.sum()),
        flipped=int(known.flipped.sum()),
        near_duplicates=int(known.near_duplicates.sum()),
        top1=scores.top1,
        n_clean=int(clean.sum()),
        top1_clean=scores.subset(clean).top1 if bool(clean.any()) else None,
    )


def max_similarity(images: Tensor, others: Tensor) -> Tensor:
    """Similarity of each image to the most similar other, as it is or flipped.

    Args:
        images: uint8, shape (samples, channels, height, width).
        others: uint8, shape (other samples, channels, height, width).

    Returns:
        The correlation of the images' thumbnails, at most 1, shape (samples,); 0 for a constant image.
    """
    references = thumbnails(others).T
    either_way = [thumbnails(images), thumbnails(images, flip=True)]
    found = [torch.cat([(chunk @ references).amax(1) for chunk in way.split(CHUNK_SIZE)]) for way in either_way]
    return torch.maximum(*found)


def _membership(split: Split, known: set[bytes]) -> Tensor:
    return torch.tensor([key in known for key in image_keys(split)], dtype=torch.bool)
