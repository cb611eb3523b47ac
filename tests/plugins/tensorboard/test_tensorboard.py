"""TensorBoard: a second tracker, as a plugin."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from helpers.tiny_runs import DENSE, FACES, SHORT, train
from PIL import Image

from localrules.callbacks.base import Plot, RunInfo
from localrules.core.phase import Phase
from localrules.errors import UsageError
from localrules_tensorboard.tracker import TensorBoardTracker

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def track(
    directory: Path, steps: range, *, resumed_from: int = 0, redistributable: bool = False, media: bool = False
) -> None:
    run = RunInfo(
        directory=directory,
        rule="hsic",
        model="mlp",
        data="fer2013",
        config={"seed": 1, "rule": {"name": "hsic"}},
        layers=[],
        classes=("a", "b"),
        redistributable=redistributable,
        total_steps=4,
        steps_per_epoch=2,
        resumed_from_step=resumed_from,
        columns=(),
        phases=(Phase("joint", 0, 4, frozenset(), 3.0),),
    )
    tracker = TensorBoardTracker(TensorBoardTracker.Config(media=media))
    tracker.on_run_start(run)
    for step in steps:
        tracker.on_log({"step": step, "phase": "joint", "objective/stem": -float(step), "loss": None})
        tracker.on_checkpoint()
    images = []
    for name, shows_data in (("confusion", False), ("sample_sheet", True)):
        Image.new("L", (8, 8), 90).save(directory / f"{name}.png")
        images.append(Plot(name, directory / f"{name}.png", shows_data))
    tracker.on_run_end({"status": "done", "steps": 4}, images)
    tracker.close()


def read(directory: Path) -> Any:
    return accumulator.EventAccumulator(str(directory / "tensorboard")).Reload()


def test_metrics_and_the_configuration_are_written_beside_the_run(tmp_path: Path) -> None:
    track(tmp_path, range(1, 5))
    events = read(tmp_path)
    assert events.Tags()["scalars"] == ["layer/stem/objective"]
    assert [(event.step, event.value) for event in events.Scalars("layer/stem/objective")] == [
        (step, -float(step)) for step in range(1, 5)
    ]
    assert b'"name": "hsic"' in events.Tensors("config/text_summary")[0].tensor_proto.string_val[0]


def test_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    track(tmp_path, range(1, 4))
    track(tmp_path, range(3, 5), resumed_from=2)
    assert [event.step for event in read(tmp_path).Scalars("layer/stem/objective")] == [1, 2, 3, 4]


def test_a_run_that_is_resumed_from_no_checkpoint_has_every_step_once(tmp_path: Path) -> None:
    track(tmp_path, range(1, 3))
    track(tmp_path, range(1, 5))
    assert [event.step for event in read(tmp_path).Scalars("layer/stem/objective")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("redistributable", "media", "shown"),
    [
        (False, False, {"plots/confusion"}),
        (True, False, {"plots/confusion", "plots/sample_sheet"}),
        (False, True, {"plots/confusion", "plots/sample_sheet"}),
    ],
)
def test_images_of_data_are_written_only_where_that_is_allowed(
    tmp_path: Path, redistributable: bool, media: bool, shown: set[str]
) -> None:
    track(tmp_path, range(1, 2), redistributable=redistributable, media=media)
    assert set(read(tmp_path).Tags()["images"]) == shown


def test_without_tensorboard_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="not installed") as caught:
        TensorBoardTracker(TensorBoardTracker.Config())
    assert "localrules[tensorboard]" in caught.value.fix


@pytest.mark.slow
def test_a_run_has_charts_of_all_layers_hyperparameters_histograms_curves_and_a_graph(tmp_path: Path) -> None:
    words = ["--rule", "local-ce", "--track", "tensorboard", "--diagnose", "probe,histograms"]
    summary = train(tmp_path / "runs", *words, "--set", "tensorboard.charts_every=0")
    events = read(Path(summary["run_dir"]))
    tags = events.Tags()
    assert {"layer/layers.0/objective", "train/loss", "valid/accuracy"} <= set(tags["scalars"])
    assert {"charts/objective", "charts/probe", "charts/confusion", "charts/images"} <= set(tags["images"])
    assert [image.step for image in events.Images("charts/objective")] == [4, 8, 12]
    assert {"histograms/layers.0/weights", "histograms/layers.0/gradients"} <= set(tags["histograms"])
    layout = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert b"layer/.*/objective$" in layout
    assert "_hparams_/experiment" in events.summary_metadata
    curves = [tag for tag in tags["tensors"] if tag.startswith("precision_recall/")]
    assert len(curves) == 7
    assert tags["graph"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [DENSE, ["--model", "resnet20", "--set", "model.width=4"], ["--model", "vit_tiny", "--set", "model.depth=1"]],
    ids=lambda words: words[1],
)
def test_a_network_has_a_graph(model: list[str], tmp_path: Path) -> None:
    words = ["--rule", "backprop", "--track", "tensorboard", *SHORT, "--steps", "1"]
    assert read(Path(train(tmp_path, *words, setting=[*FACES, *model])["run_dir"])).Tags()["graph"]
