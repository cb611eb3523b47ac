"""Several networks' scores in one table: means over seeds, everything that ``eval`` says, and doubts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from localrules.data.dataset import Dataset, Split
from localrules.engine.scores import Scores
from localrules.evaluation.metrics import compute_metrics
from localrules.evaluation.score_charts import (
    add_evaluation,
    calibration_chart,
    confusion_charts,
    leak_message,
    recall_table,
    score_table,
)
from localrules.reports.html import Page

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
    head, rows = recall_table(SCORED)
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


def test_there_is_a_confusion_matrix_and_a_calibration_curve_for_each_network() -> None:
    five = {f"row {number}": [score(number), score(number + 5)] for number in range(5)}
    charts = confusion_charts(five)
    assert [chart.title.split(":")[0] for chart in charts] == list(five)
    assert all("of 50 images right" in chart.title for chart in charts)
    assert [sum(value or 0 for value in row) for row in charts[0].values] == pytest.approx([1, 1, 0])
    series = calibration_chart({name: scores[:1] for name, scores in five.items()}).series
    assert [one.label for one in series] == list(five)
    seen = [item for item in five["row 0"][0]["reliability"] if item["n"] > 0]
    assert len(seen) < len(five["row 0"][0]["reliability"])  # bins without images are left out
    assert list(series[0].y) == pytest.approx([item["accuracy"] for item in seen])


def test_a_page_without_scores_has_no_section_for_them() -> None:
    page = Page("Nothing")
    add_evaluation(page, {})
    assert "Evaluation" not in page.html()
    add_evaluation(page, SCORED)
    assert page.html().count("<h4>") == 3


def test_a_network_may_have_the_style_that_it_has_in_other_charts() -> None:
    assert [one.style for one in calibration_chart(SCORED).series] == [*range(len(SCORED))]
    styles = {name: 3 + place for place, name in enumerate(SCORED)}
    assert {one.label: one.style for one in calibration_chart(SCORED, styles).series} == styles
