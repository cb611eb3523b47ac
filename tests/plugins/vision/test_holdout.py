"""The number of samples of each class that are held out of train."""

from __future__ import annotations

import numpy as np
import pytest

from localrules.errors import UsageError
from localrules_vision.holdout import held_out


def held(sizes: list[int], count: int | None) -> list[int]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    mask = held_out(labels, count)
    return [int(mask[labels == label].sum()) for label in range(len(sizes))]


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([10] * 10, 20, [2] * 10),
        ([10] * 10, 5, [1, 1, 1, 1, 1, 0, 0, 0, 0, 0]),  # of equal remainders the lower labels
        ([10, 10, 10], 4, [2, 1, 1]),
        ([50, 30, 20], 10, [5, 3, 2]),
        ([7, 2, 1], 5, [4, 1, 0]),  # 3.5, 1 and 0.5
        ([60, 35, 5], 9, [5, 3, 1]),  # 5.4, 3.15 and 0.45
        ([10] * 10, 0, [0] * 10),
        ([30, 9, 2], None, [3, 1, 1]),
    ],
)
def test_as_many_as_asked_for_in_proportion_to_the_classes(
    sizes: list[int], count: int | None, expected: list[int]
) -> None:
    assert held(sizes, count) == expected
    if count is not None:
        assert sum(expected) == count


def test_the_last_samples_of_each_class_go() -> None:
    assert held_out(np.array([0, 1, 0, 1, 1, 0]), 2).tolist() == [False, False, False, False, True, True]


def test_no_class_is_left_without_samples() -> None:
    with pytest.raises(UsageError, match="leaves a class without training samples"):
        held([9, 1], 10)
