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
        For each rule ``name``, ``one`` (seconds of a step in one process), ``data`` and ``layers`` (where processes
        divide these), ``bubble_fraction``, and ``stage_seconds``; ``None`` where they cannot, and then ``refused``
        has the reason.
    """
    threads = settings["threads"]
    divided = {"devices": count, "threads": max(1, threads // count)}
    rows = []
    for rule in rules:
        row: dict[str, Any] = {"name": rule, "data": None, "layers": None, "refused": {}}
        row["one"] = _run(rule, settings, registry, rounds)["step_seconds"]
        for parallel in ("data", "layers"):
            try:
                found = _run(rule, merge(settings, {**divided, "parallel": parallel}), registry, rounds)
            except UsageError as error:
                row["refused"][parallel] = error.why
                found = {}
            row[parallel] = found.get("step_seconds")
        rows.append({**row, **{name: found.get(name) for name in ("bubble_fraction", "stage_seconds")}})
    return rows


def _run(rule: str, settings: Tree, registry: Registry, rounds: int) -> dict[str, Any]:
    """The summary of a short run that leaves nothing behind."""
    steps = MEASURED_STEPS + WARMUP + rounds
    unwatched = {"checkpoint_every": steps, "plots": False, "log_every": steps}
    asked = {"rule": {"name": rule}, "steps": steps, **unwatched}
    with TemporaryDirectory() as folder:
        summary = start(resolve_run(merge(asked, settings), registry), registry, Path(folder)).summary
    return dict(summary)
