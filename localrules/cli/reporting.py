"""The results of a command, sent to a tracker (``--wandb``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.errors import LocalRulesError, describe_exception, warn

if TYPE_CHECKING:
    from localrules.registry.registry import Registry
    from localrules.tracking.service import CommandReport

TRACKER = "wandb"


def send_report(mode: str, report: CommandReport, registry: Registry) -> None:
    """Send the results; a command that is done is not lost where they cannot be sent: that is a warning.

    Args:
        mode: ``auto``, ``online`` or ``offline``.
        report: The results.
        registry: Where the tracker is looked up.
    """
    from localrules.tracking.service import find_service

    service = find_service(TRACKER, "report", registry)
    try:
        service.report(mode, report)
    except Exception as error:
        why = error.what if isinstance(error, LocalRulesError) else describe_exception(error)
        warn(f"the result was not sent to {TRACKER}: {why}")


def report_rows(
    mode: str,
    job_type: str,
    folder: Path,
    rows: Sequence[Mapping[str, Any]],
    registry: Registry,
    *,
    label: str = "rule",
    metric: str,
    cost: str | None = None,
    config: Mapping[str, Any] | None = None,
    in_group: bool = True,
) -> None:
    """Send a table of results, with a bar for each row, and its cost against its metric.

    Args:
        mode: ``auto``, ``online`` or ``offline``.
        job_type: The command.
        folder: Where its results are; runs with its name as their group belong to it.
        rows: What the command prints with ``--json``; values that are neither numbers nor text are left out.
        registry: Where the tracker is looked up.
        label: The key that names a row.
        metric: The key of what is measured.
        cost: The key of what it costs.
        config: What was asked for.
        in_group: Whether the command has made runs of this group.
    """
    from localrules.tracking.charts import Chart
    from localrules.tracking.service import CommandReport

    if not rows:
        return
    columns = tuple(
        dict.fromkeys(key for row in rows for key, value in row.items() if isinstance(value, int | float | str))
    )
    table = [tuple(row.get(column) for column in columns) for row in rows]
    bars = [(str(row[label]), row[metric]) for row in rows if row.get(metric) is not None]
    charts = [
        Chart("charts/results", f"Results of {job_type}", "table", columns, table),
        Chart(f"charts/{metric}", metric, "bar", (label, metric), bars, (label, metric)),
    ]
    if cost is not None:
        points = [
            (str(row[label]), row[cost], row[metric])
            for row in rows
            if row.get(cost) is not None and row.get(metric) is not None
        ]
        axes = (cost, metric, label)
        charts.append(Chart("charts/cost", f"{metric} against {cost}", "scatter", (label, cost, metric), points, axes))
    report = CommandReport(
        job_type=job_type,
        name=f"{folder.resolve().name}-{job_type}",
        directory=folder,
        config=config or {},
        summary={f"{metric}/{name}": value for name, value in bars},
        charts=[chart for chart in charts if chart.rows],
        group=folder.resolve().name if in_group else None,
    )
    send_report(mode, report, registry)
