"""The image of a run's diagnostics is drawn from whatever was measured."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from localrules.tracking.plots.diagnostics import plot_diagnostics

pytestmark = pytest.mark.draws


@pytest.mark.slow
@pytest.mark.parametrize("names", [("gradient",), ("probe", "dead"), ("hsic-input", "hsic-labels", "angle", "cka")])
def test_each_measure_has_a_panel(tmp_path: Path, names: tuple[str, ...]) -> None:
    layers = ("stem", "head")
    columns = [f"{name}/{layer}" for name in names for layer in layers if (name, layer) != ("cka", "stem")]
    rows = ["step," + ",".join(columns)]
    rows += [",".join(str((step + index) / 10) for index in range(len(columns) + 1)) for step in (1, 2, 3)]
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("\n".join(rows) + "\n")
    with Image.open(plot_diagnostics(metrics, tmp_path / "out.png")) as image:
        assert image.width > 400
        assert len(image.convert("RGB").getcolors(image.width * image.height) or []) > 20


def test_a_run_that_has_measured_nothing_yet_gives_an_empty_image(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("step,probe/stem\n")
    assert plot_diagnostics(metrics, tmp_path / "out.png").exists()
