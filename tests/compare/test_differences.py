"""Means, spreads and intervals are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from comparing import run_folders

from localrules.comparison.execute import read_run_record
from localrules.comparison.scorer import Scorer, paired_bootstrap
from localrules.config.diff import differing_settings
from localrules.registry.registry import Registry


def answers(share: float, seeds: int = 3, pictures: int = 400, seed: int = 0) -> list[np.ndarray]:
    draws = np.random.default_rng(seed)
    return [draws.random(pictures) < share for _ in range(seeds)]


def test_the_interval_is_that_of_a_bootstrap_written_out() -> None:
    ours, theirs = answers(0.7, seed=1), answers(0.6, seeds=2, seed=2)
    each = sum(one.astype(float) for one in ours) / 3 - sum(one.astype(float) for one in theirs) / 2
    draws = np.random.default_rng(7)
    means = [each[draws.integers(0, 400, 400)].mean() for _ in range(4000)]
    found = paired_bootstrap(ours, theirs)
    assert found.mean == pytest.approx(each.mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.004)


def test_equal_answers_differ_by_nothing_for_sure() -> None:
    found = paired_bootstrap(answers(0.5), answers(0.5))
    assert (found.mean, found.low, found.high) == (0, 0, 0)


def test_it_is_paired_so_errors_in_common_make_it_narrow() -> None:
    theirs = answers(0.5, seeds=1)
    ours = [theirs[0].copy()]
    ours[0][:8] = True
    paired = paired_bootstrap(ours, theirs)
    unpaired = paired_bootstrap(ours, [np.roll(theirs[0], 200)])
    assert paired.high - paired.low < 0.25 * (unpaired.high - unpaired.low)


def test_the_same_answers_give_the_same_interval() -> None:
    assert paired_bootstrap(answers(0.7), answers(0.6, seed=3)) == paired_bootstrap(answers(0.7), answers(0.6, seed=3))


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
