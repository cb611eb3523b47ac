"""Means, spreads and intervals are what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.comparisons import run_folders
from helpers.tiny_runs import FACES, MLP, SHORT, train

from localrules.comparison.run_record import read_run_record
from localrules.comparison.scorer import RunPredictions, Scorer, on_clean
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


@pytest.mark.slow
def test_each_run_is_scored_on_what_it_held_out_itself(tmp_path: Path) -> None:
    words = ["--rule", "local-ce", "--set", "plots=false"]
    held = [["--set", "holdout_fraction=0.2", "--set", f"holdout_seed={seed}"] for seed in (0, 1)]
    runs = [train(tmp_path, *words, *each, setting=[*FACES, *MLP, *SHORT]) for each in ([], *held)]
    scorer = Scorer(Registry.load(allow=[]))
    for done in runs:
        answered = scorer.predictions(read_run_record(Path(done["run_dir"])))
        assert answered.right.mean() == pytest.approx(done["valid_accuracy"])


def test_images_known_from_training_are_left_out_of_all_runs_if_one_found_them() -> None:
    clean = np.array([True, True, False, False])
    lucky, other, control = (
        RunPredictions(np.array(right), known, {})
        for right, known in (([1, 1, 1, 1], clean), ([0, 0, 1, 1], None), ([1, 0, 1, 1], None))
    )
    found = on_clean({"rule": [lucky, other], "control": [control]}, "control")
    assert (found["rule"].images, found["rule"].accuracy) == (2, 0.5)  # of both seeds, not of the lucky one
    assert found["control"].accuracy == 0.5
    assert on_clean({"rule": [other], "control": [control]}, "control") == {}


def test_settings_differ_where_one_is_other_or_unset() -> None:
    trees = [{"a": 1, "b": {"c": 2, "d": 3}}, {"a": 1, "b": {"c": 4}}]
    assert differing_settings(trees) == {"b.c": [2, 4], "b.d": [3, None]}
