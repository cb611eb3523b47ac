"""Charts show every value where it belongs, leave room for the texts, and survive a file."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from localrules.reports.charts import (
    Chart,
    Coordinate,
    HeatMap,
    Interval,
    IntervalChart,
    Level,
    ParallelChart,
    Series,
    XYChart,
    charts_from_json,
    charts_to_json,
)
from localrules.reports.drawing import BANDS, WIDTH, geometry, shortened
from localrules.reports.marks import mark_path, style_class
from localrules.reports.scales import Axis, Scale
from localrules.utils.palette import COLOURS, MARKERS

LINE = XYChart("a", Axis("step"), Axis("accuracy", percent=True), [Series("one", [0, 10, 20], [0.1, 0.5, 0.9])])


def places(path: str) -> list[tuple[float, float]]:
    """The corners of a path of absolute commands."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path)]


def test_a_line_goes_through_its_points_and_higher_values_are_higher() -> None:
    found = geometry(LINE)
    line = places(found["series"][0]["line"])
    assert len(line) == 3
    assert all(a < b for (a, _), (b, _) in pairwise(line))
    assert all(a > b for (_, a), (_, b) in pairwise(line))
    assert all(found["left"] <= x <= found["right"] and found["top"] <= y <= found["bottom"] for x, y in line)
    assert [text for _, text in found["y_ticks"]] == ["0 %", "20 %", "40 %", "60 %", "80 %"]


def test_values_without_a_position_are_left_out() -> None:
    series = Series("one", [1, 2, 3, 4], [1.0, float("nan"), 0.0, 100.0])
    chart = XYChart("a", Axis(), Axis(log=True), [series], [Level(10.0, "half")])
    found = geometry(chart)
    (_, first), (_, last) = places(found["series"][0]["line"])
    assert found["levels"][0][0] == pytest.approx((first + last) / 2, abs=0.1)


def test_series_are_told_apart_by_colour_or_marker() -> None:
    count = len(COLOURS) * len(MARKERS)
    looks = {(style_class(i).split()[0], mark_path(i, 0, 0, 4)) for i in range(count)}
    assert len(looks) == count


def test_long_lines_are_thinned_to_their_last_point_and_bands_of_many_rules_are_left_out() -> None:
    steps = [float(step) for step in range(5000)]
    many = [Series(f"{i}", steps, steps, i, low=steps, high=steps) for i in range(BANDS + 1)]
    found = geometry(XYChart("a", Axis(), Axis(), many))
    few = geometry(XYChart("a", Axis(), Axis(), many[:BANDS]))
    assert len(places(found["series"][0]["line"])) < 300
    assert places(found["series"][0]["line"])[-1][1] == min(y for _, y in places(found["series"][0]["line"]))
    assert [bool(one["band"]) for one in found["series"]] == [False] * (BANDS + 1)
    assert [bool(one["band"]) for one in few["series"]] == [True] * BANDS


def test_rows_of_intervals_do_not_touch_and_long_names_leave_room_for_the_value() -> None:
    rows = [Interval(f"rule {'x' * 80}", i / 20, i / 20 - 0.01, i / 20 + 0.01, "50.0 % ± 1.0") for i in range(12)]
    found = geometry(IntervalChart("a", Axis(percent=True), rows, zero=0.2))
    heights = [row["text_at"] for row in found["rows"]]
    assert min(b - a for a, b in pairwise(heights)) > 30
    assert all("…" in row["label"] and len(row["label"]) + len(row["text"]) < WIDTH / 6 for row in found["rows"])
    low, high = found["rows"][3]["whisker"]
    assert low < places(found["rows"][3]["mark"])[0][0] < high
    assert low < found["zero"]


def test_a_heat_map_has_a_field_for_every_value_and_leaves_unknown_ones_empty() -> None:
    values = [[0.0, 0.5], [1.0, None]]
    found = geometry(
        HeatMap("a", ["x", "y"], ["1", "2"], values, Axis(low=0, high=1), texts=[["0", "50"], ["100", ""]])
    )
    assert [(strength, len(places(path))) for strength, _, path in found["fields"]] == [(0.5, 1), (1.0, 1)]
    assert [text for _, _, text, _ in found["texts"]] == ["0", "50", "100"]
    assert [strong for *_, strong in found["texts"]] == [False, False, True]


@pytest.mark.parametrize("names", [["7", "1,000", "2,000"], ["a class with a long name"] * 3])
def test_names_of_columns_do_not_lie_on_each_other(names: list[str]) -> None:
    columns = names * 8
    found = geometry(HeatMap("a", ["x"], columns, [[1.0] * len(columns)]))
    room = 12 if found["slanted"] else 6.3 * max(map(len, names))
    assert all(b[0] - a[0] >= room for a, b in pairwise(found["columns"]))
    assert found["slanted"] == (names[0] != "7")


def test_in_parallel_coordinates_the_best_line_is_drawn_last_and_strongest() -> None:
    axes = [Coordinate("lr", ("0", "1"), [0.0, 1.0]), Coordinate("accuracy", ("0", "1"), [1.0, 0.0])]
    found = geometry(ParallelChart("a", axes, [1.0, 0.0], ["good", "bad"]))
    assert [(name, level) for _, level, name in found["lines"]] == [("bad", 0), ("good", 4)]


@pytest.mark.parametrize(
    ("axis", "values", "texts"),
    [
        (Axis(integer=True), [0, 3], ["0", "1", "2", "3"]),
        (Axis(log=True), [1e-4, 1e2], ["0.0001", "0.001", "0.01", "0.1", "1", "10", "100"]),
        (Axis(), [2000, 12000], ["2,500", "5,000", "7,500", "10,000", "12,500"]),
        (Axis(), [2.3018, 2.3026], ["2.3018", "2.3020", "2.3022", "2.3024", "2.3026"]),
        (Axis(percent=True), [0.9991, 0.9995], ["99.91 %", "99.92 %", "99.93 %", "99.94 %", "99.95 %"]),
        (Axis(percent=True), [0.5, 0.5], None),
        (Axis(), [], None),
    ],
)
def test_ticks_are_round_and_within_the_axis(axis: Axis, values: list[float], texts: list[str] | None) -> None:
    scale = Scale.fit(axis, values, 0, 100)
    found = scale.ticks()
    assert 2 <= len(found) <= 8
    assert all(scale.low <= value <= scale.high for value, _ in found)
    assert len({text for _, text in found}) == len(found)
    if texts is not None:
        assert [text for _, text in found] == texts


def test_a_text_is_shortened_in_its_middle() -> None:
    assert shortened("a name of layers", 9) == "a na…yers"
    assert shortened("short", 9) == "short"


def test_charts_come_back_from_a_file() -> None:
    charts: list[Chart] = [
        LINE,
        IntervalChart("b", Axis(), [Interval("one", None)]),
        HeatMap("c", ["r"], ["c"], [[None]]),
    ]
    found: list[Any] = charts_from_json(charts_to_json(charts))
    assert charts_to_json(found) == charts_to_json(charts)
    assert geometry(found[0]) == geometry(charts[0])
    with pytest.raises(ValueError, match="kind"):
        charts_from_json('[{"kind": "pie"}]')
