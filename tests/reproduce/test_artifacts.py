"""An experiment shows images and tables of its own: files of its folder, and on the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import Said, localrules, tiny_csv

pytestmark = pytest.mark.slow

FACES = ["--data", "faces", *(word for split in ("train", "valid", "test") for word in ("--set", f"data.{split}=70"))]

SMALL = [
    *("--model", "dense_fpn_small", "--set", "batch_size=8"),
    *(word for option in ("blocks", "convolutions", "growth") for word in ("--set", f"model.{option}=1")),
]


@pytest.fixture
def reproduce(plugin: Path, tmp_path: Path) -> Any:
    def run(*words: str | Path) -> Said:
        said = localrules("reproduce", *words, "--threads", "1", "--out", tmp_path / "out", "--plugin", plugin)
        assert said.code == 0, said.out
        return said

    return run


def page(out: Path) -> str:
    return (out / "index.html").read_text()


def test_an_experiment_without_cases_shows_the_data_and_trains_nothing(reproduce: Any, tmp_path: Path) -> None:
    (line,) = reproduce("looks", *FACES, "--json").document
    assert (line["claim"], line["summary"]) == ("Images are images.", None)
    out = tmp_path / "out"
    assert sorted(path.name for path in (out / "looks").iterdir()) == [
        "artifacts.json",
        "cases.csv",
        "hidden.csv",
        "seen.png",
    ]
    assert not (out / "runs").exists()
    assert (out / "looks" / "hidden.csv").read_text() == 'n\n""\n2\n'
    text = page(out)
    assert "Images are images." in text
    assert "What is &lt;seen&gt; (faces)" in text
    assert text.count('<img src="data:image/png') == 1
    assert "The numbers" not in text


def test_cases_are_shown_with_the_claim_and_of_what_they_are(reproduce: Any, tmp_path: Path) -> None:
    words = ["open", "--cases", "any", *FACES, "--json"]
    (first, *_) = reproduce(*words).document
    assert first["claim"] == "Any data will do."
    assert first["verdict"] == "other data: not comparable"
    text = page(tmp_path / "out")
    assert "Any data will do." in text
    assert re.search(r"The cases \([\w-]+ on faces, seeds? [\w, ]+, 1 of 1 steps\)", text)


def test_a_pattern_of_cases_leaves_out_experiments_without_cases(reproduce: Any, tmp_path: Path) -> None:
    reproduce("all", "--cases", "backprop", "--scale", "0.0001", *FACES, *SMALL)
    shown = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert shown == {"figure-1-3", "figure-10-11", "runs"}


def test_a_case_without_a_published_metric_has_no_difference(reproduce: Any) -> None:
    small = ["--model", "mlp", "--set", "model.hidden=[4]", "--seeds", "1"]
    (run,) = reproduce("open", "--cases", "any model", *FACES, *small, "--json").document
    assert (run["published"], run["verdict"]) == (None, "no published value")


def test_what_another_command_showed_stays_on_the_page(reproduce: Any, tmp_path: Path) -> None:
    reproduce("looks", "--cases", "*", *FACES)
    reproduce("open", "--cases", "any", "--seeds", "1", *FACES)
    text = page(tmp_path / "out")
    assert "Images are images." in text
    assert "Any data will do." in text
    assert text.count('<img src="data:image/png') == 2
    assert "Calibration" in text  # charts of the second


def test_cases_that_another_command_did_stay_in_the_experiments_tables(reproduce: Any, tmp_path: Path) -> None:
    def shown() -> list[str]:
        lines = (tmp_path / "out" / "figure-13" / "evaluation.csv").read_text().splitlines()[1:]
        return [line.split(",")[0] for line in lines]

    words = ["figure-13", *FACES, *SMALL, "--scale", "0.0001", "--json", "--cases"]
    reproduce(*words, "elu")
    assert shown() == ["elu"]
    (run,) = reproduce(*words, "relu").document
    assert run["row"] == "relu"
    assert shown() == ["relu", "elu"]
    curves = (tmp_path / "out" / "figure-13" / "curves.csv").read_text()
    assert "\nrelu,0,1," in curves
    assert "\nelu,0,1," in curves
    reproduce(*words, "tanh", "--scale", "0.0002")  # another budget
    assert shown() == ["tanh"]


def test_a_page_with_images_that_are_not_ours_to_give_says_so(reproduce: Any, tmp_path: Path) -> None:
    reproduce("looks", *FACES)
    assert "Keep this page to yourself" not in page(tmp_path / "out")
    reproduce("looks", "--data", "fer2013", "--data-path", tiny_csv(tmp_path / "fer2013.csv"))
    assert "Keep this page to yourself" in page(tmp_path / "out")


def test_of_the_papers_data_only_counts_may_be_passed_on(reproduce: Any, tmp_path: Path) -> None:
    reproduce("figure-6-9", "--data", "fer2013", "--data-path", tiny_csv(tmp_path / "fer2013.csv"))
    kept = json.loads((tmp_path / "out" / "figure-6-9" / "artifacts.json").read_text())
    assert {artifact["file"] for artifact in kept if artifact["file"] and not artifact["private"]} == {
        "figure-8-labels.png",
        "figure-8-labels.csv",
    }
    assert "figure-6-table.csv" in {artifact["file"] for artifact in kept if artifact["private"]}


def test_what_trains_nothing_takes_the_words_of_its_neighbours(reproduce: Any, tmp_path: Path) -> None:
    reproduce("figure-6-9", *FACES, "--model", "dense_fpn_small", "--scale", "0.01", "--seeds", "1")
    assert (tmp_path / "out" / "figure-6-9" / "figure-9-expressions.png").exists()
