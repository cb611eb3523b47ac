"""Exact copies, within a split and across splits."""

from __future__ import annotations

import pytest
import torch

from localrules.data.dataset import Dataset, Split, fingerprint
from localrules.data.duplicates import duplicate_mask, image_keys
from localrules.data.stats import dataset_stats
from localrules.errors import DataError


def split(*greys: int, labels: list[int] | None = None) -> Split:
    images = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).repeat(len(greys), 1, 1, 1)
    images[:, 0, 0, 0] = torch.tensor(greys, dtype=torch.uint8)
    return Split(images, torch.tensor(labels or [0] * len(greys)))


def data_set(**splits: Split) -> Dataset:
    return Dataset("some", ("no", "yes"), splits, "made up", fingerprint(splits), redistributable=True)


def test_keys_are_equal_exactly_where_pixels_are() -> None:
    keys = image_keys(split(5, 6, 5))
    assert keys[0] == keys[2] != keys[1]


def test_train_comes_before_valid_and_valid_before_test() -> None:
    data = data_set(test=split(1, 2, 3, 4), valid=split(2, 2, 9), train=split(1, 1, 9))
    assert duplicate_mask(data, "train").tolist() == [False, False, False]
    assert duplicate_mask(data, "valid").tolist() == [False, False, True]
    assert duplicate_mask(data, "test").tolist() == [True, True, False, False]


def test_a_missing_earlier_split_is_passed_over() -> None:
    assert duplicate_mask(data_set(train=split(1), test=split(1, 2)), "test").tolist() == [True, False]
    assert duplicate_mask(data_set(test=split(1, 2)), "test").tolist() == [False, False]


def test_a_split_that_is_not_there_cannot_be_asked_for() -> None:
    with pytest.raises(DataError, match="no 'valid' split"):
        duplicate_mask(data_set(train=split(1)), "valid")


def test_the_report_counts_conflicts_over_all_splits() -> None:
    data = data_set(train=split(1, 1, 2, labels=[0, 1, 0]), valid=split(2, 3, labels=[1, 0]), test=split(3, labels=[0]))
    found = dataset_stats(data)
    assert (found.rows, found.distinct) == (6, 3)
    assert (found.conflicting_images, found.conflicting_rows) == (2, 4)
    assert [found.splits[name].in_earlier_splits for name in ("train", "valid", "test")] == [0, 1, 1]
    assert found.splits["train"].by_class == {"no": 2, "yes": 1}


def test_constant_images_are_counted() -> None:
    image_batch = split(0, 0, 0)
    image_batch.images[1:] = 7
    assert dataset_stats(data_set(train=image_batch)).splits["train"].constant == 2


def test_a_fingerprint_depends_on_pixels_labels_order_and_split() -> None:
    plain = fingerprint({"train": split(1, 2, labels=[0, 1])})
    assert plain == fingerprint({"train": split(1, 2, labels=[0, 1])})
    others = [
        {"train": split(1, 3, labels=[0, 1])},
        {"train": split(1, 2, labels=[0, 0])},
        {"train": split(2, 1, labels=[1, 0])},
        {"valid": split(1, 2, labels=[0, 1])},
        {"train": split(1, labels=[0]), "valid": split(2, labels=[1])},
    ]
    assert len({plain, *map(fingerprint, others)}) == 6
