"""Calibration, against loops over images."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from localrules.engine.scores import Scores
from localrules.evaluation.metrics import BINS, Calibration
from localrules.evaluation.plots import plot_calibration


def scores_of(probabilities: list[list[float]], labels: list[int]) -> Scores:
    return Scores(torch.tensor(probabilities).log(), torch.tensor(labels))


@pytest.fixture
def scores() -> Scores:
    draws = torch.Generator().manual_seed(0)
    return Scores(3 * torch.randn(200, 4, generator=draws), torch.randint(0, 4, (200,), generator=draws))


def test_the_error_is_the_mean_over_images_of_their_bins_distance(scores: Scores) -> None:
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(scores.logits.tolist(), scores.labels.tolist(), strict=True):
        confidence = math.exp(max(row)) / sum(math.exp(value) for value in row)
        bins.setdefault(math.ceil(confidence * BINS), []).append((confidence, row.index(max(row)) == label))
    error = sum(abs(sum(confidence - right for confidence, right in found)) for found in bins.values()) / 200
    calibration = Calibration.of(scores)
    assert calibration.error == pytest.approx(error)
    assert [item.n for item in calibration.bins] == [len(bins.get(place, [])) for place in range(1, BINS + 1)]


def test_bins_have_equal_widths_and_cover_everything(scores: Scores) -> None:
    bins = Calibration.of(scores).bins
    assert len(bins) == 15
    assert [item.low for item in bins] == pytest.approx([place / 15 for place in range(15)])
    assert bins[-1].high == 1
    assert sum(item.n for item in bins) == 200
    assert all(item.low < item.confidence <= item.high for item in bins if item.confidence is not None)
    assert {item.n == 0 for item in bins if item.accuracy is None} == {True}


def test_who_is_as_often_right_as_he_says_has_no_error() -> None:
    assert Calibration.of(scores_of([[0.75, 0.25]] * 4, [0, 0, 0, 1])).error == pytest.approx(0, abs=1e-6)


def test_who_is_certain_and_wrong_has_the_largest_error() -> None:
    calibration = Calibration.of(scores_of([[1.0, 0.0]] * 3, [1, 1, 1]))
    assert calibration.error == 1
    assert calibration.bins[-1].n == 3


def test_it_is_drawn_also_where_bins_are_empty(scores: Scores, tmp_path: Path) -> None:
    for number, found in enumerate((scores, scores_of([[0.75, 0.25]], [1]))):
        out = tmp_path / f"{number}.png"
        assert plot_calibration(Calibration.of(found), out) == out
        assert out.read_bytes().startswith(b"\x89PNG")
