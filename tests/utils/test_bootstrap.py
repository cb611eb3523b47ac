"""Bootstrap intervals against scipy's, and their properties."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from localrules.utils.bootstrap import paired_bootstrap, ratio_bootstrap


def correct(fraction: float, seeds: int = 3, images: int = 400, seed: int = 0) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [draws.random(images) < fraction for _ in range(seeds)]


def scipy_interval(data: np.ndarray, statistic: object) -> list[float]:
    found = stats.bootstrap((data,), statistic, n_resamples=10_000, method="percentile", rng=7)
    return [found.confidence_interval.low, found.confidence_interval.high]


def test_the_interval_of_a_difference_is_scipys() -> None:
    ours, theirs = correct(0.7, seed=1), correct(0.6, seeds=2, seed=2)
    each = np.mean(ours, axis=0) - np.mean(theirs, axis=0)
    found = paired_bootstrap(ours, theirs)
    assert found.mean == pytest.approx(each.mean())
    assert [found.low, found.high] == pytest.approx(scipy_interval(each, np.mean), abs=0.003)


def test_the_interval_of_a_ratio_is_scipys() -> None:
    draws = np.random.default_rng(3)
    candidate, control = draws.gamma(9, 0.1, 60), draws.gamma(9, 0.2, 60)
    found = ratio_bootstrap(candidate, control)
    assert found.median == np.median(candidate / control)
    assert [found.low, found.high] == pytest.approx(scipy_interval(candidate / control, np.median), abs=0.01)


def test_equal_predictions_have_no_difference_and_no_uncertainty() -> None:
    found = paired_bootstrap(correct(0.5), correct(0.5))
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_pairing_makes_the_interval_narrow_where_errors_are_shared() -> None:
    theirs = correct(0.5, seeds=1)
    ours = [theirs[0].copy()]
    ours[0][:8] = True
    paired = paired_bootstrap(ours, theirs)
    unpaired = paired_bootstrap(ours, [np.roll(theirs[0], 200)])
    assert paired.high - paired.low < 0.25 * (unpaired.high - unpaired.low)


def test_the_intervals_are_fixed() -> None:
    """The numbers of version 0.1: a table that is made again shows the same digits."""
    found = paired_bootstrap(correct(0.7), correct(0.6, seed=3))
    assert (found.mean, found.low, found.high) == pytest.approx(
        (0.0783333333333, 0.0391666666667, 0.1166666666667), abs=1e-12
    )
    ratio = ratio_bootstrap(np.arange(1.0, 12.0), np.arange(3.0, 14.0)[::-1].copy())
    assert (ratio.median, ratio.low, ratio.high) == pytest.approx((0.75, 0.2727272727273, 1.8), abs=1e-12)


def test_a_ratio_is_the_median_within_rounds() -> None:
    control = np.array([1.0, 2.0, 4.0, 8.0, 16.0])  # a machine that slows down
    found = ratio_bootstrap(control * np.array([0.5, 0.5, 0.5, 0.6, 0.4]), control)
    assert found.median == 0.5
    assert 0.4 <= found.low <= found.median <= found.high <= 0.6
