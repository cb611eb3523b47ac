"""Images of a run: drawn from whatever a run left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from localrules.tracking.plots.curves import plot_confusion, plot_curves
from localrules.tracking.plots.dependence_matrix import plot_dependence
from localrules.tracking.plots.sheets import plot_feature_maps, plot_filters, plot_samples

pytestmark = [pytest.mark.slow, pytest.mark.draws]

HEADER = "step,phase,objective/a,objective/b,loss,accuracy,valid_loss,valid_accuracy\n"


def assert_drawn(path: Path) -> None:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    assert pixels.min() < 100, "nothing dark was drawn"
    assert (pixels == 255).mean() > 0.05, "the ground is not white"
    assert list(path.parent.glob(".*")) == [], "a temporary file was left"


@pytest.mark.parametrize(
    "rows",
    [
        "",
        "1,joint,-0.5,0.1,2.0,0.1,,\n",
        "1,joint,-0.5,0.1,2.0,0.1,,\n2,joint,-0.7,0.1,1.0,0.4,1.5,0.3\n3,joint,-",
        "1,hidden,nan,inf,nan,0.1,,\n2,hidden,1e30,,inf,0.1,,\n",
    ],
    ids=["no row", "one row", "torn last row", "not finite"],
)
def test_curves_are_drawn_from_any_metrics_that_a_run_can_leave(tmp_path: Path, rows: str) -> None:
    metrics = tmp_path / "metrics.csv"
    metrics.write_text(HEADER + rows)
    assert plot_curves(metrics, tmp_path / "curves.png") == tmp_path / "curves.png"
    assert_drawn(tmp_path / "curves.png")


def test_curves_of_many_layers_and_of_none(tmp_path: Path) -> None:
    names = [f"objective/layer{index}" for index in range(60)]
    (tmp_path / "many.csv").write_text(",".join(["step", *names]) + "\n" + ",".join(["1"] * 61) + "\n")
    (tmp_path / "none.csv").write_text("step,loss,accuracy\n1,2.0,0.5\n2,1.0,0.6\n")
    for name in ("many", "none"):
        plot_curves(tmp_path / f"{name}.csv", tmp_path / f"{name}.png")
        assert_drawn(tmp_path / f"{name}.png")


def test_the_same_metrics_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(HEADER + "1,joint,-0.5,0.1,2.0,0.1,,\n2,joint,-0.7,0.1,1.0,0.4,1.5,0.3\n")
    first, second = (plot_curves(tmp_path / "metrics.csv", tmp_path / f"{name}.png") for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_a_confusion_matrix_with_an_empty_class_is_drawn(tmp_path: Path) -> None:
    matrix = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 9]])
    assert_drawn(plot_confusion(matrix, ["angry", "disgust", "fear"], tmp_path / "confusion.png"))


def test_filters_of_convolutions_and_of_fully_connected_layers_are_drawn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    assert_drawn(plot_filters(torch.randn(5, 3, 3, 3), tmp_path / "conv.png"))
    assert_drawn(plot_filters(torch.randn(100, 49), tmp_path / "linear.png"))
    with pytest.raises(ValueError, match="square"):
        plot_filters(torch.randn(4, 50), tmp_path / "none.png")


def test_feature_maps_have_a_row_a_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    maps = {"stem": torch.randn(12, 8, 8), "deep": torch.randn(3, 2, 2)}
    assert_drawn(plot_feature_maps(maps, tmp_path / "maps.png"))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_sheet_of_any_number_of_images_is_drawn(tmp_path: Path, channels: int) -> None:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (13, channels, 8, 8), dtype=torch.uint8)
    labels = torch.arange(13) % 2
    assert_drawn(plot_samples(images, labels, 1 - labels, ["yes", "no"], tmp_path / "sheet.png"))


def test_the_legend_of_a_small_dependence_matrix_is_not_cut(tmp_path: Path) -> None:
    layers, depends, upstream = ["layers.0", "readout"], [[1, 1], [1, 1]], [[0, 0], [1, 0]]
    drawn = plot_dependence(layers, depends, upstream, "dfa on mlp: broadcast-error", tmp_path / "m.png", of="seed 0")
    with Image.open(drawn) as image:
        pixels = np.asarray(image.convert("L"))
    assert all((edge == 255).all() for edge in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]))


def test_plots_carry_what_they_are_of_in_small_print(tmp_path: Path) -> None:
    matrix = np.array([[8, 2], [1, 9]])
    plain = plot_confusion(matrix, ["angry", "happy"], tmp_path / "plain.png").read_bytes()
    signed = plot_confusion(matrix, ["angry", "happy"], tmp_path / "of.png", of="hsic trains mlp on faces, seed 0")
    assert signed.read_bytes() != plain
