"""A case that needs a package which is not installed is left out beside others, and refused where it is alone."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import Said, localrules

WANTS = 'alexnet needs torchvision: pip install "localrules[baselines]"'
BOTH = "[at]*"  # AlexNet, and the paper's


@pytest.fixture
def reproduce(tmp_path: Path) -> Any:
    words = ["--data", "faces", "--model", "mlp", "--scale", "0.0002", "--threads", "1", "--out", tmp_path / "out"]
    for setting in ("model.hidden=[4]", "data.train=35", "data.valid=14", "data.test=14", "batch_size=7"):
        words += ["--set", setting]

    def run(cases: str, *more: str) -> Said:
        return localrules("reproduce", "table-1", "--cases", cases, *words, *more)

    return run


@pytest.fixture
def without_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)


@pytest.mark.usefixtures("without_torchvision")
def test_beside_others_it_is_left_out_and_json_says_why_and_what_to_install(reproduce: Any) -> None:
    said = reproduce(BOTH, "--json")
    assert said.code == 0, said.out
    alexnet, ours = said.document
    assert (alexnet["row"], alexnet["verdict"], alexnet["summary"]) == ("AlexNet", "left out", None)
    assert alexnet["missing"] == {
        "why": "alexnet needs torchvision",
        "install": 'pip install "localrules[baselines]"',
    }
    assert ours["row"] == "the paper's"
    assert ours["missing"] is None
    assert ours["summary"]["status"] == "done"
    assert set(alexnet) == set(ours)


@pytest.mark.usefixtures("without_torchvision")
def test_screen_page_and_table_say_so_too(reproduce: Any, tmp_path: Path) -> None:
    said = reproduce(BOTH)
    assert f"table-1, AlexNet, 2 of 10000 steps, is left out: {WANTS}" in said.err
    assert f"Left out: AlexNet, since {WANTS}" in said.out
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<strong>Left out: </strong>AlexNet, since alexnet needs torchvision" in page
    with (tmp_path / "out" / "table-1" / "results.csv").open(newline="") as file:
        lines = {line["row"]: line for line in csv.DictReader(file)}
    assert (lines["AlexNet"]["verdict"], lines["AlexNet"]["missing"]) == ("left out", WANTS)
    assert lines["the paper's"]["missing"] == ""


@pytest.mark.usefixtures("without_torchvision")
def test_alone_it_is_refused_before_anything_runs(reproduce: Any, tmp_path: Path) -> None:
    answer = reproduce("alexnet", "--json")
    assert answer.code == 2
    assert answer.error["what"] == "alexnet needs torchvision"
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("without_torchvision")
def test_another_fault_refuses_all_as_ever(reproduce: Any, tmp_path: Path) -> None:
    answer = reproduce(BOTH, "--json", "--set", "optimizer.lr=-1")
    assert answer.code == 2
    assert "optimizer.lr" in answer.error["where"]
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_once_the_package_is_there_the_case_is_run_and_its_metrics_stay(
    reproduce: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from helpers.tiny_baselines import small_torchvision

    def verdicts() -> list[str]:
        with (tmp_path / "out" / "table-1" / "results.csv").open(newline="") as file:
            return [line["verdict"] for line in csv.DictReader(file)]

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torchvision", None)
        reproduce(BOTH)
    assert verdicts() == ["left out", "other data: not comparable"]
    small_torchvision(monkeypatch)
    reproduce("alexnet")
    assert verdicts() == ["other data: not comparable", "other data: not comparable"]
    monkeypatch.setitem(sys.modules, "torchvision", None)
    reproduce(BOTH)
    assert verdicts() == ["other data: not comparable", "other data: not comparable"]
