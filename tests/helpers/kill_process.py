"""Moments at which a run is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from helpers.tiny_runs import STEPS, die, localrules_code
from localrules.engine import checkpoint, trainer, weights_file
from localrules.runs import execution
from localrules.runs import summary as closing
from localrules.runs import train as launch
from localrules.tracking import metrics_file, records


def at_call(owner: Any, name: str, number: int, then: Callable[..., Any]) -> None:
    """Replace a function by one that does ``then(original, *args)`` the ``number``-th time."""
    original, calls = getattr(owner, name), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return then(original, *args, **kwargs) if calls[0] == number else original(*args, **kwargs)

    setattr(owner, name, counted)


def before(original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    die()


def after(original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    original(*args, **kwargs)
    die()


def half_a_file(original: Callable[..., Any], content: Any, path: Path, *more: Any) -> None:
    original(content, path, *more)
    os.truncate(path, path.stat().st_size // 2)
    die()


def half_a_column(original: Callable[..., Any], path: Path, content: bytes) -> None:
    def write_half(target: Path) -> None:
        target.write_bytes(content[: len(content) // 2])
        die()

    original(path, write_half)


def half_a_row(original: Callable[..., Any], metrics: Any, line: bytes) -> None:
    original(metrics, line[: len(line) // 2])
    die()


# name: (where, function, at which call, what happens), and the step of the last checkpoint.
MOMENTS: dict[str, tuple[tuple[Any, str, int, Callable[..., Any]], int]] = {
    "the folder is made, nothing else": ((launch, "create_run_folder", 1, after), 0),
    "before the first step": ((trainer, "train_step", 1, before), 0),
    "the first checkpoint is half written": ((checkpoint.torch, "save", 1, half_a_file), 0),
    "the second checkpoint is half written": ((checkpoint.torch, "save", 2, half_a_file), 3),
    "the second checkpoint is whole but not in place": ((checkpoint.torch, "save", 2, after), 3),
    "between a checkpoint and its weights for readers": ((weights_file, "save_file", 2, before), 6),
    "the weights for readers are half written": ((weights_file, "save_file", 2, half_a_file), 6),
    "right after a checkpoint": ((checkpoint, "save", 2, after), 6),
    "between two checkpoints": ((trainer, "train_step", 9, after), 6),
    "a row of metrics is torn": ((metrics_file.MetricsFile, "_append", 6, half_a_row), 6),
    "the last step is done, its checkpoint not": ((trainer, "train_step", STEPS, after), 9),
    "after the last checkpoint": ((closing, "summarize", 1, before), STEPS),
    "the plots are drawn": ((execution, "_save_plots", 1, before), STEPS),
    "the summary is about to be written": ((records, "write_atomic", 2, before), STEPS),
}

# Of a run with late_metric.py, at the row of step 8; the last checkpoint is of step 6.
COLUMN_MOMENTS: dict[str, tuple[Any, str, int, Callable[..., Any]]] = {
    "a column is about to be added": (metrics_file, "write_atomic", 1, before),
    "the file with the new column is half written": (metrics_file, "write_atomic", 1, half_a_column),
    "the column was added, the row not": (metrics_file, "write_atomic", 1, after),
    "two rows with the new column are written": (trainer, "train_step", STEPS - 1, after),
}
# Of a run that stops early after step 8, with checkpoints every 3 steps.
STOP_MOMENTS: dict[str, tuple[Any, str, int, Callable[..., Any]]] = {
    "before step 8": (trainer, "train_step", 8, before),
    "after step 8": (trainer, "train_step", 8, after),
    "after the checkpoint of step 8": (checkpoint, "save", 3, after),
    "before the summary": (closing, "summarize", 1, before),
}
# Of a run that a callback stops after step 6, within an epoch, with checkpoints every 3 steps.
STOP_WITHIN_EPOCH_MOMENTS: dict[str, tuple[Any, str, int, Callable[..., Any]]] = {
    "before the row of the evaluation": (metrics_file.MetricsFile, "replace_last", 1, before),
    "after the row of the evaluation": (metrics_file.MetricsFile, "replace_last", 1, after),
    "after the checkpoint of the stop": (checkpoint, "save", 2, after),
    "before the summary": (closing, "summarize", 1, before),
}


def die_at(moment: str, words: list[str]) -> None:
    _die(MOMENTS[moment][0], words)


def die_when(moment: str, words: list[str]) -> None:
    _die((COLUMN_MOMENTS | STOP_MOMENTS)[moment], words)


def die_when_stopped(moment: str, words: list[str]) -> None:
    _die(STOP_WITHIN_EPOCH_MOMENTS[moment], words)


def _die(at: tuple[Any, str, int, Callable[..., Any]], words: list[str]) -> None:
    owner, name, number, then = at
    at_call(owner, name, number, then)
    localrules_code(words)
