"""``eval`` doubts a score that is too good, and says what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import MLP, SHORT, Said, localrules, tiny_csv, train

from localrules_fer.datasets import fer2013

pytestmark = pytest.mark.slow


def a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float) -> tuple[dict[str, Any], Path]:
    monkeypatch.setattr(fer2013, "IMPLAUSIBLE_ABOVE", limit)
    csv = tiny_csv(tmp_path / "faces.csv")
    lines = csv.read_text().splitlines()
    copied = [row.replace("Training", "PublicTest") for row in lines if row.endswith("Training")][:10]
    csv.write_text("\n".join([*lines, *copied]) + "\n")
    setting = ["--data", "fer2013", "--data-path", str(csv), *MLP, *SHORT, "--steps", "1"]
    return train(tmp_path / "runs", "--rule", "backprop", setting=setting), csv


def scored(run: dict[str, Any], *words: str | Path) -> Said:
    said = localrules("eval", run["run_dir"], "--json", *words)
    assert said.code == 0, said.err
    return said


def test_a_metric_that_is_too_good_is_doubted_and_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, csv = a_run(tmp_path, monkeypatch, limit=-1.0)
    said = scored(run)
    assert "Warning" in said.err
    assert "look for a leak" in said.err
    assert "10 were trained on as they are" in said.err
    check = said.document["leak_check"]
    assert (check["max_plausible_accuracy"], check["rows"], check["training_rows"]) == (-1.0, 80, 140)
    assert (check["copies"], check["mirrored"], check["alike"], check["n_clean"]) == (10, 0, 0, 70)
    assert check["top1"] == said.document["top1"]
    assert str(csv) in check["scored_on"]
    assert scored(run, "--split", "train").document["leak_check"] is None, "training samples were trained on"


def test_a_plausible_metric_is_believed_unless_one_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = a_run(tmp_path, monkeypatch, limit=1.0)
    said = scored(run)
    assert said.document["leak_check"] is None
    assert "Warning" not in said.err
    asked = scored(run, "--leak-check")
    assert asked.document["leak_check"]["copies"] == 10
    assert "Warning" not in asked.err


def test_other_data_are_looked_for_among_the_rows_that_the_run_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that is scored holds, as its test split, what the run was trained on."""
    run, csv = a_run(tmp_path, monkeypatch, limit=1.0)
    lines = csv.read_text().splitlines()
    renamed = [row.replace("Training", "PrivateTest") for row in lines if not row.endswith("PrivateTest")]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(renamed) + "\n")
    words = ("--data-path", other, "--split", "test", "--leak-check")
    assert scored(run, *words).document["leak_check"]["copies"] == 140
    csv.write_text("\n".join(lines[:-10]) + "\n")
    said = scored(run, *words)
    assert "the data have changed since the run" in said.document["leak_check"]["not_done"]
    assert "could not be done" in said.err


def test_fer2013_says_what_is_implausible(tmp_path: Path) -> None:
    csv = tiny_csv(tmp_path / "faces.csv", train=7)
    assert fer2013.FER2013(fer2013.FER2013.Config(path=csv)).load().max_plausible_accuracy == 0.76
