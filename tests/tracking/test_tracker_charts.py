"""Charts of the layers over the steps, as tables."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest

from localrules.tracking.charts import MOST_STEPS, Chart, LayerHistory, dependence_chart
from localrules.tracking.plots.charts import chart_image, draw_chart

pytestmark = pytest.mark.draws

LAYERS = ("stem", "blocks.0", "readout")


def charts(*rows: dict[str, float]) -> dict[str, Chart]:
    history = LayerHistory(LAYERS)
    for row in rows:
        history.add(row)
    return {chart.name: chart for chart in history.charts()}


def test_a_heat_map_has_a_row_for_each_layer_and_step_in_order() -> None:
    found = charts(
        {"step": 1, "loss": 3.0, "objective/blocks.0": 2.0, "objective/stem": 1.0, "loss/head/stem": 5.0},
        {"step": 2, "objective/stem": math.nan, "objective/blocks.0": 4.0},
    )
    assert list(found) == ["charts/objective"]
    assert found["charts/objective"].columns == ("step", "depth", "layer", "objective")
    assert found["charts/objective"].rows == [(1, 0, "stem", 1.0), (1, 1, "blocks.0", 2.0), (2, 1, "blocks.0", 4.0)]


def test_of_many_steps_an_even_part_stays_and_the_last() -> None:
    rows = [{"step": step, "objective/stem": float(step)} for step in range(1, 5001)]
    steps = [row[0] for row in charts(*rows)["charts/objective"].rows]
    assert MOST_STEPS / 2 <= len(steps) <= MOST_STEPS
    assert steps[-1] == 5000
    assert steps == sorted(steps)
    gaps = {after - before for before, after in pairwise(steps[:-1])}
    assert len(gaps) == 1


def test_accuracy_gained_is_the_difference_to_the_layer_before() -> None:
    found = charts({"step": 9, "probe/stem": 0.25, "probe/blocks.0": 0.75})
    assert found["charts/accuracy_gained"].rows == [("stem", 0.25, 0.25), ("blocks.0", 0.5, 0.75)]


def test_the_information_plane_is_that_of_the_last_step() -> None:
    rows = [{"step": step, "hsic-input/stem": step / 10, "hsic-labels/stem": step / 20} for step in (1, 2)]
    assert charts(*rows)["charts/information_plane"].rows == [("stem", 0, 0.2, 0.1)]


def test_a_resumed_run_has_the_steps_before(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("step,phase,objective/stem\n1,joint,0.5\n2,joint,\n")
    history = LayerHistory(LAYERS)
    history.add_file(file)
    history.add({"step": 3, "objective/stem": 0.25})
    assert history.charts()[0].rows == [(1, 0, "stem", 0.5), (3, 0, "stem", 0.25)]


@pytest.mark.slow
def test_every_kind_of_chart_is_drawn() -> None:
    found = charts(
        {"step": 1, "probe/stem": 0.5, "probe/readout": 0.7, "hsic-input/stem": 0.1, "hsic-labels/stem": 0.2}
    )
    matrix = dependence_chart({"layers": ["a", "b"], "depends": [[True, False], [True, True]]})
    line = Chart(
        "c", "Calibration", "line", ("confidence", "accuracy"), [(0.2, 0.3), (0.9, 0.8)], ("confidence", "accuracy")
    )
    for chart in (*found.values(), matrix, line):
        image = chart_image(chart)
        assert image is not None
        assert image.shape[2] == 3
        assert image.std() > 5  # something is drawn
    assert chart_image(Chart("t", "Table", "table", ("a",), [(1,)])) is None


@pytest.mark.parametrize(("values", "count"), [((0.0, 0.0), 1), ((0.5, 0.5), 1), ((0.0, 1.0), 6)])
def test_a_heat_map_of_one_value_has_a_scale_of_this_value_alone(values: tuple[float, float], count: int) -> None:
    chart = charts(*({"step": step, "dead/stem": value} for step, value in enumerate(values)))["charts/dead"]
    figure = draw_chart(chart)
    assert figure is not None
    scale = figure.axes[1].get_yticks()
    assert len(scale) == count
    assert values[0] in scale
