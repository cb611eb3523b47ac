"""Names of a run's metrics on W&B, and the axis against which they are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What is drawn against what. Evaluations come once an epoch: against steps their charts would be all gaps.
AXES = {"train/*": "step", "layer/*": "step", "cost/*": "step", "valid/*": "epoch"}

_NAMES = {
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


def named(row: Mapping[str, Any]) -> dict[str, Any]:
    """A metrics row by its names on W&B, without empty values, e.g. ``layer/<layer>/objective``."""
    return {_name(column): value for column, value in row.items() if value is not None}


def _name(column: str) -> str:
    if column in _NAMES:
        return _NAMES[column]
    what, slash, layer = column.rpartition("/")
    return f"layer/{layer}/{what}" if slash else f"train/{column}"
