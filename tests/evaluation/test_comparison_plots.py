"""Several networks' scores in one table: means over seeds, everything that ``eval`` says, and doubts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from localrules.data.dataset import Dataset, Split
from localrules.engine.scores import Scores
from localrules.evaluation.comparison_plots import (
    leak_message,
    plot_confusions,
    plot_recalls,
    plot_reliability,
    score_table,
)
from localrules.evaluation.metrics import compute_metrics
from localrules.utils.plotting import save_figure

CLASSES = ("angry", "happy", "sad")


def score(seed: int, **more: Any) -> dict[str, Any]:
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (60, 1, 4, 4), dtype=torch.uint8, generator=draws)
    labels = torch.arange(60) % 2  # nobody is sad
    splits = {"train": Split(images[:20], labels[:20]), "valid": Split(images[10:], labels[10:])}
    data = Dataset("some", CLASSES, splits, "random", "", True)
    logits = 3 * torch.randn(50, 3, generator=draws)
    return compute_metrics(data, "valid", Scores(logits, labels[10:])) | {"leak_check": None, **more}


SCORED = {"one": [score(0), score(1)], "other": [score(2)]}


def test_every_metric_is_a_mean_over_seeds() -> None:
    head, rows = score_table(SCORED)
    assert head == [
        *("", "split", "images", "top-1", "balanced", "without duplicates", "one against rest", "calibration error")
    ]
    first = dict(zip(head, rows[0], strict=True))
    assert (first[""], first["split"], first["images"]) == ("one", "valid", "50")
    for column, key in (("top-1", "top1"), ("without duplicates", "top1_without_duplicates")):
        values = [found[key] for found in SCORED["one"]]
        assert float(first[column] or "") == pytest.approx(50 * sum(values), abs=0.051)


def test_each_class_has_its_recall_and_a_class_without_images_has_none() -> None:
    head, rows = plot_recalls(SCORED)
    assert head == ["", *CLASSES]
    angry = [found["recalls"]["angry"] for found in SCORED["one"]]
    assert float(rows[0][1] or "") == pytest.approx(50 * sum(angry), abs=0.051)
    assert [row[3] for row in rows] == [None, None]


def test_a_result_that_is_too_good_stands_there_with_what_was_found() -> None:
    check = {"rows": 50, "n_clean": 40, "top1_clean": 0.5}
    scored = {"good": [score(0, leak_check=check)], "plain": [score(1)]}
    head, rows = score_table(scored)
    assert head[-1] == "leak check"
    assert rows[0][-1] == "10 of 50 rows are known from training; top-1 without them 50.0"
    assert rows[1][-1] is None
    assert "could not be done: gone" in leak_message(score(0, leak_check={"not_done": "gone"}))


def test_images_have_a_place_for_each_network(tmp_path: Path) -> None:
    five = {f"row {number}": [score(number)] for number in range(5)}
    figure = plot_confusions(five)
    shown = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title(loc="left") for axes in shown] == list(five)
    assert save_figure(figure, tmp_path / "confusion.png").stat().st_size > 0
    lines = plot_reliability(five).axes[0].get_lines()
    assert [line.get_label() for line in lines[1:]] == list(five)
    confidence, accuracy = lines[1].get_data()
    assert len(confidence) == sum(item["n"] > 0 for item in five["row 0"][0]["reliability"])
    seen = [item["accuracy"] for item in five["row 0"][0]["reliability"] if item["n"] > 0]
    assert list(accuracy) == pytest.approx(seen)
