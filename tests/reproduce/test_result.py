"""Verdicts and budgets, and where a data set is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from localrules.errors import UsageError
from localrules.reproduce.plan import find_data_path
from localrules.reproduce.result import CaseResult
from localrules.reproduce.spec import Budget, Case

FULL = Budget(5, 5, "epochs")


def outcome(*values: float, budget: Budget = FULL) -> CaseResult:
    case = Case(name="row", settings={}, published=90.0, source="A paper")
    return CaseResult("experiment", case, budget, (), values)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((89.0,), "matches"), ((91.0,), "matches"), ((88.9,), "below"), ((91.1,), "above"), ((86.0, 94.0), "matches")],
)
def test_a_mean_within_one_point_matches(values: tuple[float, ...], verdict: str) -> None:
    assert outcome(*values).verdict == verdict


def test_a_smaller_budget_is_not_comparable_whatever_it_came_to() -> None:
    assert outcome(90.0, budget=replace(FULL, length=4.9)).verdict == "smaller budget: not comparable"
    assert outcome(80.0, budget=replace(FULL, length=10)).verdict == "below"


def test_a_metric_of_another_split_is_not_comparable() -> None:
    found = replace(outcome(90.0), scores=({"split": "valid"},))
    assert found.verdict == "other split: not comparable"
    assert found.deviations == "the data have no test split: valid accuracy"
    assert replace(found, scores=({"split": "test"},)).verdict == "matches"


def test_a_case_whose_runs_all_diverged_says_so() -> None:
    assert outcome().verdict == "diverged"
    assert outcome().as_csv_row()["ours"] == ""


def test_a_case_of_which_some_runs_diverged_does_not_match() -> None:
    found = replace(outcome(90.0), diverged=(1, 2), runs=outcome(90.0).runs)
    assert found.verdict.endswith("seeds diverged: not comparable")


@pytest.mark.parametrize(
    ("settings", "scale", "text"),
    [
        ({"epochs": 100.0}, 0.05, "5 of 100 epochs"),
        ({"epochs": 5.0}, 0.1, "0.5 of 5 epochs"),
        ({"steps": 10_000}, 0.01, "100 of 10000 steps"),
        ({"steps": 10}, 0.01, "1 of 10 steps"),
    ],
)
def test_a_budget_is_a_fraction_of_the_published_one(settings: dict[str, float], scale: float, text: str) -> None:
    assert str(Budget.of("row", settings, scale)) == text


@pytest.mark.parametrize("settings", [{}, {"epochs": 1.0, "steps": 3}])
def test_a_case_has_one_length(settings: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="does not say how long"):
        Budget.of("row", settings, 1.0)


def test_a_data_set_is_found_in_a_folder_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "mnist.npz").touch()
    (tmp_path / "fashion_mnist").mkdir()
    assert find_data_path(tmp_path, "mnist") == tmp_path / "mnist.npz"
    assert find_data_path(tmp_path, "fashion_mnist") == tmp_path / "fashion_mnist"
    assert find_data_path(tmp_path, "fer2013") == tmp_path
    assert find_data_path(tmp_path / "mnist.npz", "other") == tmp_path / "mnist.npz"
