"""The last samples of each class as valid split, for data sets that come without one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from localrules.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from localrules.data.decoding import Sample
    from localrules.data.mapped_cache import ArrayStore

Arrays = tuple["NDArray[Any]", "NDArray[Any]"]  # the images and the labels of a split
DESCRIPTION = (
    "So many samples of train, the last ones of each class, become the valid split where the source has none (unset: a "
    "tenth of each class, ours); 0 trains on all."
)


def held_out(labels: NDArray[Any], count: int | None) -> NDArray[np.bool_]:
    """Which samples become the valid split: the last ones of each class, in proportion to the classes' sizes.

    What does not divide evenly goes to the classes with the largest remainders, and of equal ones to the lower labels.

    Args:
        labels: Of the train split, shape (samples,).
        count: How many in all; ``None`` for a tenth of each class, and one at least.

    Returns:
        bool, shape (samples,).

    Raises:
        UsageError: A class would be left without a sample.
    """
    mask = np.zeros(len(labels), dtype=bool)
    if count == 0:
        return mask
    numbers, sizes = np.unique(labels, return_counts=True)
    for label, own in zip(numbers, _counts(sizes.tolist(), count), strict=True):
        places = np.flatnonzero(labels == label)
        if own >= len(places):
            raise UsageError(
                "holding out leaves a class without training samples",
                where=f"data.holdout={'unset' if count is None else count}",
                why=f"class {label} has {len(places):,} of the {len(labels):,} samples of train, and {own:,} would go",
                fix="choose a smaller data.holdout; 0 holds nothing out",
            )
        mask[places[len(places) - own :]] = True
    return mask


def _counts(sizes: list[int], count: int | None) -> list[int]:
    """The number of samples that are held out of each class."""
    if count is None:
        return [max(1, size // 10) for size in sizes]
    total = sum(sizes)
    counts = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda at: -(count * sizes[at] % total))
    for at in by_remainder[: count - sum(counts)]:
        counts[at] += 1
    return counts


def store_splits(store: ArrayStore, splits: dict[str, Arrays], count: int | None) -> int:
    """Store splits that are in memory, with a valid split held out of train if there is none.

    Args:
        store: The new entry of the cache.
        splits: uint8 of shape (samples, channels, height, width), and integers of shape (samples,).
        count: See :func:`held_out`.

    Returns:
        How many samples are held out.
    """
    splits = dict(splits)
    mask = np.zeros(0, dtype=bool)
    if "train" in splits and "valid" not in splits:
        images, labels = splits["train"]
        mask = held_out(labels, count)
        if mask.any():
            splits["train"], splits["valid"] = (images[~mask], labels[~mask]), (images[mask], labels[mask])
    for name, (images, labels) in splits.items():
        store.save_split(name, images, labels)
    return int(mask.sum())


def hold_out_samples(samples: list[Sample], count: int | None) -> list[Sample]:
    """Image files with a valid split held out of train if there is none; see :func:`held_out`."""
    train = [number for number, sample in enumerate(samples) if sample.split == "train"]
    if not train or any(sample.split == "valid" for sample in samples):
        return samples
    mask = held_out(np.array([samples[number].label for number in train]), count)
    moved = {train[place] for place in np.flatnonzero(mask)}
    return [sample._replace(split="valid") if at in moved else sample for at, sample in enumerate(samples)]
