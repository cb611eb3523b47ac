"""Readings of the curves of the paper's experiments, and diverged cases in the tables."""

from __future__ import annotations

import csv
from pathlib import Path

import pandas as pd
import pytest

from localrules.registry.registry import Registry
from localrules.reproduce.artifacts import ArtifactWriter
from localrules.reproduce.result import CaseResult
from localrules.reproduce.spec import Budget, Case
from localrules.testing.conformance.sessions import toy_dataset
from localrules_fer.paper.curves import LINES, SECONDS, STEPS, WORK, Curve, common_level, converged, smooth, spent
from localrules_fer.paper.speed import show_speed
from localrules_fer.paper.training import show_training

REGISTRY = Registry.load(allow=[])


def curve(*accuracies: float | None) -> pd.DataFrame:
    return pd.DataFrame({"step": range(10, 10 * len(accuracies) + 1, 10), "accuracy": list(accuracies)}, dtype=float)


def stairs(*levels: float) -> list[float]:
    """Each level for as long as a running mean takes to be there."""
    return [level for level in levels for _ in range(LINES)]


@pytest.mark.parametrize(
    ("accuracies", "step"),
    [
        (stairs(0.1, 0.5, 0.8), 250),  # around 250 nine of ten lines have 0.8, and the mean 0.77
        (stairs(0.1, 0.77, 0.8), 160),
        (stairs(0.8), 60),
        ([None, *stairs(0.4)], 70),
        (stairs(0.8)[1:], None),
        ([None, None], None),
    ],
)
def test_a_curve_has_converged_where_its_running_mean_first_has_nearly_its_last_value(
    accuracies: list[float | None], step: int | None
) -> None:
    assert converged(curve(*accuracies)) == step


def test_one_lucky_batch_is_not_a_convergence_and_no_accuracy_that_was_reached() -> None:
    flat = stairs(0.2, 0.2, 0.4)
    lucky = [*flat[:5], 0.9, *flat[6:]]
    assert converged(curve(*lucky)) == converged(curve(*flat))
    assert common_level([spending("lucky", *lucky, pace=1.0, work=1.0)]) == pytest.approx(0.4)


def spending(label: str, *accuracies: float, pace: float, work: float) -> Curve:
    table = curve(*accuracies)
    return Curve(label, [table.assign(**{SECONDS: table[STEPS] * pace, WORK: table[STEPS] * work})])


def test_curves_are_held_against_each_other_at_an_accuracy_that_two_of_them_reach() -> None:
    fast = spending("fast", *stairs(0.1, 0.3, 0.52), pace=2.0, work=0.5)
    slow = spending("slow", *stairs(0.1, 0.2, 0.37), pace=1.0, work=0.25)
    flat = spending("flat", *stairs(0.1, 0.1, 0.1), pace=1.0, work=0.25)
    short = spending("short", 0.9, 0.9, pace=1.0, work=0.25)
    assert common_level([fast, slow, flat, short]) == pytest.approx(0.35)
    assert common_level([fast]) == pytest.approx(0.5)
    assert common_level([short]) is None
    assert common_level([]) is None
    assert spent([fast, slow, flat, short], 0.3) == [
        ["fast", "160", "320.0", "80.000"],
        ["slow", "220", "220.0", "55.000"],
        ["flat", None, None, None],
        ["short", None, None, None],
    ]


def test_a_curve_is_drawn_from_end_to_end_and_a_short_one_as_it_is() -> None:
    assert len(smooth(pd.Series(stairs(0.1, 0.5)))) == 2 * LINES
    assert list(smooth(pd.Series([0.1, 0.9]))) == [0.1, 0.9]


def test_cases_that_diverged_stay_in_the_tables_with_nothing_beside_them(tmp_path: Path) -> None:
    case = Case(name="AlexNet", settings={}, published=89.0, source="A paper")
    outcome = CaseResult("table-1", case, Budget(1, 2, "steps"), (), (), {"model": "alexnet", "data": "tiny"})
    for number, show in enumerate((show_training, show_speed)):
        artifacts = ArtifactWriter(tmp_path / str(number), [outcome], toy_dataset(), REGISTRY)
        show(artifacts)
        artifacts.close()
        with (tmp_path / str(number) / "measures.csv").open(newline="") as file:
            (_, line) = csv.reader(file)
        assert line == ["AlexNet", *[""] * 10]
    assert (tmp_path / "1" / "table-1.csv").read_text().splitlines()[1] == "AlexNet,alexnet,0.243178,,,60,,89,,"
