"""Names of a run's metrics in all trackers, and the axis against which they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What is drawn against what. Evaluations come once an epoch: against steps their charts would be all gaps.
AXES = {"train/*": "step", "layer/*": "step", "cost/*": "step", "valid/*": "epoch"}

NAMES = {
    "step": "step",
    "epoch": "epoch",
    "phase": "phase",
    "loss": "train/loss",
    "accuracy": "train/accuracy",
    "lr": "train/lr",
    "valid_loss": "valid/loss",
    "valid_accuracy": "valid/accuracy",
    "samples_per_second": "cost/samples_per_second",
    "step_seconds": "cost/step_seconds",
    "memory_mib": "cost/memory_mib",
}
"""The names of columns of ``metrics.csv`` that are not of a layer."""


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """A metrics row by its names in trackers, without empty values, e.g. ``layer/<layer>/objective``."""
    return {tracked_name(column): value for column, value in row.items() if value is not None}


def tracked_name(column: str) -> str:
    """The name in trackers of a column of ``metrics.csv``."""
    if column in NAMES:
        return NAMES[column]
    what, slash, layer = column.rpartition("/")
    return f"layer/{layer}/{what}" if slash else f"train/{column}"


def histogram_name(name: str) -> str:
    """The name in trackers of a histogram, e.g. ``histograms/<layer>/weights`` of ``weights/<layer>``."""
    what, _, layer = name.partition("/")
    return f"histograms/{layer}/{what}"


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a metrics row by their names in trackers, without the step."""
    return {name: value for name, value in named(row).items() if name != "step" and isinstance(value, int | float)}
