"""Percentile bootstrap intervals at 95 %. Seeds are fixed, so the same data give the same interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MEAN_RESAMPLES = 10_000
MEDIAN_RESAMPLES = 2000


@dataclass(frozen=True)
class Difference:
    """The difference between two accuracies on the same images.

    Attributes:
        mean: The difference, each accuracy averaged over seeds.
        low, high: Its 95 % interval, by bootstrap over images. The seeds are taken as they are.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Ratio:
    """The ratio of two times that were measured in the same rounds.

    Attributes:
        median: Of the ratios within rounds.
        low, high: Its 95 % interval, by bootstrap over rounds.
    """

    median: float
    low: float
    high: float


def paired_bootstrap(ours: Sequence[NDArray[np.bool_]], theirs: Sequence[NDArray[np.bool_]]) -> Difference:
    """The accuracy of ``ours`` less that of ``theirs``, by a paired bootstrap over images.

    Args:
        ours, theirs: For each seed, which of the same images were classified correctly, bool, shape (images,).
    """
    each = np.mean(np.stack(ours), axis=0) - np.mean(np.stack(theirs), axis=0)
    # An image's difference has few values; a resample is fully described by how often each of them is drawn.
    values, counts = np.unique(each, return_counts=True)
    drawn = np.random.default_rng(0).multinomial(len(each), counts / len(each), size=MEAN_RESAMPLES)
    return Difference(float(each.mean()), *_interval(drawn @ values / len(each)))


def ratio_bootstrap(candidate: NDArray[np.float64], control: NDArray[np.float64]) -> Ratio:
    """The median of ``candidate / control``, by a bootstrap over rounds.

    Args:
        candidate, control: Seconds in each round, shape (rounds,).
    """
    ratios = candidate / control
    drawn = np.random.default_rng(0).integers(0, len(ratios), (MEDIAN_RESAMPLES, len(ratios)))
    return Ratio(float(np.median(ratios)), *_interval(np.median(ratios[drawn], axis=1)))


def _interval(statistics: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(statistics, [0.025, 0.975])
    return float(low), float(high)
