"""Table 1 and figure 15: what networks cost and what they reach, beside the paper's figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import torch

from localrules.data.dataset import Dataset
from localrules.reproduce.artifacts import ArtifactWriter
from localrules.reproduce.result import CaseResult
from localrules.runs.load import TrainedRun
from localrules.utils.palette import COLOURS, INK, MARKERS
from localrules.utils.plotting import new_figure, plain_axes, save_figure
from localrules_fer.paper.curves import seconds
from localrules_fer.paper.training import show_training

BATCH, REPEATS = 128, 3
PUBLISHED = {
    "AlexNet": (0.243178, 60, 89.0),
    "Inception v2": (0.565114, 11, 93.0),
    "ResNet-50": (0.180212, 24, 95.0),
    "the paper's": (0.049286, 7, 97.0),
}
"""The paper's table 1: seconds a step, millions of parameters, result on the test set in percent."""

_HEAD = (
    "method", "network", "s a step, published", "s a step, training", "s a batch, prediction",
    "M parameters, published", "M parameters", "test, published", "top-1", "one against rest",
)  # fmt: skip


def show_speed(artifacts: ArtifactWriter) -> None:
    """Table 1 with our results beside the published ones, and how all cases were trained."""
    rows = [_line(outcome, artifacts) for outcome in artifacts.outcomes]
    split = " and ".join(dict.fromkeys(outcome.metric.split("_")[0] for outcome in artifacts.outcomes))
    artifacts.table("table-1", f"Table 1, batches of {BATCH}; our accuracies are of the {split} split", _HEAD, rows)
    done = [(outcome, outcome.ours) for outcome in artifacts.outcomes]
    points = [(outcome.case.name, seconds(outcome.runs), ours) for outcome, ours in done if ours is not None]
    artifacts.plot(
        "figure-15",
        f"Accuracy on the {split} split against seconds a training step: ours",
        lambda path: draw(points, path),
    )
    show_training(artifacts)


def prediction_seconds(run: TrainedRun, data: Dataset) -> float:
    """The median time in which a batch of the training split is labelled; of fewer images if there are no more."""
    split = data.split("train")
    rows = torch.arange(min(BATCH, len(split)))
    times = []
    for _ in range(REPEATS + 1):
        began = time.perf_counter()
        run.predictor.scores(split, rows)  # brings the answers to the CPU, so it waits for the device
        times.append(time.perf_counter() - began)
    return median(times[1:])


def draw(points: Sequence[tuple[str, float, float]], out: Path) -> Path:
    """Draw accuracies against seconds.

    Args:
        points: Name, seconds a step, percent.
        out: The PNG file.
    """
    figure = new_figure(6.5, 4.2)
    axes = figure.subplots()
    plain_axes(axes, "", x="seconds a training step", y="accuracy, %")
    for index, (name, cost, accuracy) in enumerate(points):
        marker = MARKERS[index % len(MARKERS)]
        axes.plot([cost], [accuracy], marker, color=COLOURS[index % len(COLOURS)], markersize=9, label=name)
    axes.set_xlim(left=0)
    if points:
        axes.legend(frameon=False, labelcolor=INK)
    return save_figure(figure, out)


def _line(outcome: CaseResult, artifacts: ArtifactWriter) -> list[str | None]:
    step, parameters, result = PUBLISHED[outcome.case.name]
    name, network = outcome.case.name, outcome.on.get("model")
    if not outcome.runs:
        return [name, network, f"{step}", None, None, f"{parameters}", None, f"{result:g}", None, None]
    top1, one_against_rest = (outcome.scored_mean(name) for name in ("top1", "one_vs_rest_accuracy"))
    loaded = TrainedRun.load(outcome.runs[0].folder, artifacts.registry)
    return [
        name,
        network,
        f"{step}",
        f"{seconds(outcome.runs):.4f}",
        f"{prediction_seconds(loaded, artifacts.data):.4f}",
        f"{parameters}",
        f"{outcome.runs[0].summary['parameters'] / 1e6:.2f}",
        f"{result:g}",
        None if top1 is None else f"{top1:.1f}",
        None if one_against_rest is None else f"{one_against_rest:.1f}",
    ]
