"""Time of several processes: they divide the batches, or the layers, beside one process with as many threads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from localrules.config.overrides import Tree, merge
from localrules.engine.pipeline.stage_trainer import MEASURED_STEPS
from localrules.engine.profiling import WARMUP
from localrules.engine.resolve import resolve_run
from localrules.errors import UsageError
from localrules.runs.train import start

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

WAYS = ("alone", "one", "data", "layers")
"""One process with the threads of one of several, one with those of all, and several that divide batches or layers."""


def bench_processes(
    rules: Sequence[str], settings: Tree, registry: Registry, count: int, rounds: int
) -> list[dict[str, Any]]:
    """Time short runs of rules in one process and in several, which have as many threads together.

    Args:
        rules: Names.
        settings: Settings of the runs: model, data, batch size, precision, and the threads of all processes together.
        registry: Where names are looked up.
        count: Processes, at least 2.
        rounds: Timed steps of each run.

    Returns:
        For each rule ``name``, and for each way of :data:`WAYS` the seconds of a step, ``None`` where processes cannot
        divide it so, and then ``refused`` has the reason. ``threads`` has the threads of each process for each way,
        ``samples_per_second`` and ``peak_memory_mib`` (of the process that needs most, see
        :func:`~localrules.engine.profiling.peak_memory`) what came of it; ``bubble_fraction`` and ``stage_seconds`` are
        of divided layers.
    """
    each = max(1, settings["threads"] // count)
    divided = {"devices": count, "threads": each}
    ways: dict[str, Tree] = {
        "alone": {"threads": each},
        "one": {},
        "data": {**divided, "parallel": "data"},
        "layers": {**divided, "parallel": "layers"},
    }
    rows = []
    for rule in rules:
        row: dict[str, Any] = {"name": rule, "refused": {}, "threads": {}}
        row |= {"samples_per_second": {}, "peak_memory_mib": {}, "bubble_fraction": None, "stage_seconds": None}
        for way in WAYS:
            whole = merge(settings, ways[way])
            try:
                found = _run(rule, whole, registry, rounds)
            except UsageError as error:
                if "parallel" not in ways[way]:
                    raise
                row[way], row["refused"][way] = None, error.why
                continue
            row[way] = found["step_seconds"]
            row["threads"][way] = whole["threads"]
            row["samples_per_second"][way] = whole["batch_size"] / found["step_seconds"]
            row["peak_memory_mib"][way] = found["peak_memory_mib"]
            if way == "layers":
                row |= {name: found[name] for name in ("bubble_fraction", "stage_seconds")}
        rows.append(row)
    return rows


def _run(rule: str, settings: Tree, registry: Registry, rounds: int) -> dict[str, Any]:
    """The summary of a short run that leaves nothing behind."""
    steps = MEASURED_STEPS + WARMUP + rounds
    unwatched = {"checkpoint_every": steps, "plots": False, "log_every": steps}
    asked = {"rule": {"name": rule}, "steps": steps, **unwatched}
    with TemporaryDirectory() as folder:
        summary = start(resolve_run(merge(asked, settings), registry), registry, Path(folder)).summary
    return dict(summary)
