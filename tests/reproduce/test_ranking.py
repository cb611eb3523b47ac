"""The sentence that ranks cases says no more than was measured."""

from __future__ import annotations

from localrules.reproduce.result import CaseResult, ranking_sentences
from localrules.reproduce.spec import Budget, Case


def outcome(name: str, *tops: float, data: str = "faces") -> CaseResult:
    case = Case(name=name, settings={}, published=None, source="A paper")
    scores = tuple({"top1": top, "split": "test"} for top in tops)
    return CaseResult("experiment", case, Budget(2, 10, "steps"), (), tops, {"data": data}, scores=scores)


def test_cases_stand_in_their_order_with_what_is_between_them_and_a_warning_of_chance() -> None:
    assert ranking_sentences([outcome("relu", 0.4), outcome("elu", 0.425), outcome("tanh", 0.31)]) == [
        "Top-1 on the test split of faces after 2 of 10 steps: elu 42.5 %, relu 40.0 %, tanh 31.0 %; 11.5 points from "
        "the first to the last; of one seed each, so how much of that is chance is not known."
    ]


def test_seeds_of_a_case_say_how_much_chance_there_is() -> None:
    (text,) = ranking_sentences([outcome("relu", 0.4, 0.44), outcome("elu", 0.42)])
    assert "relu 42.0 %, elu 42.0 %; 0.0 points from the first to the last" in text
    assert text.endswith("seeds of one case are up to 4.0 points apart.")


def test_a_case_without_a_metric_is_named_and_data_are_not_mixed() -> None:
    first, second = ranking_sentences([outcome("relu", 0.4), outcome("elu"), outcome("relu", 0.9, data="mnist")])
    assert "relu 40.0 %; elu: diverged;" in first
    assert "mnist" in second
    assert ranking_sentences([outcome("elu")]) == []
