"""Means, spreads and intervals are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.comparisons import run_folders

from localrules.comparison.run_record import read_run_record
from localrules.comparison.scorer import Scorer
from localrules.config.diff import differing_settings
from localrules.registry.registry import Registry


@pytest.mark.slow
def test_a_run_is_scored_again_to_the_accuracy_it_ended_with(done: Path) -> None:
    all_answers = Scorer(Registry.load(allow=[]))
    for folder in run_folders(done):
        run = read_run_record(folder)
        answered = all_answers.predictions(run)
        assert answered.right.mean() == answered.metrics["top1"] == pytest.approx(run.summary["valid_accuracy"])
        assert answered.clean is None


def test_settings_differ_where_one_is_other_or_unset() -> None:
    trees = [{"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4}}]
    assert differing_settings(trees) == {"b.c": [2, 4], "b.d": [3, None]}
