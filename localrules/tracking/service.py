"""The service of a tracker beside runs: results of commands, a dashboard, and weights that were stored."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.errors import UsageError
from localrules.tracking.charts import Chart

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

_REFERENCE = re.compile(r"([a-z][\w+-]*):(?!//)(.+)")


@dataclass(frozen=True)
class CommandReport:
    """The results of a command, for a tracker.

    Attributes:
        job_type: What ran: ``eval``, ``compare``, ``league``, ``bench``, ``audit`` or ``sweep``.
        name: What to call it.
        directory: Where files may be kept.
        config: What was asked for.
        summary: Numbers.
        charts: Tables and charts.
        plots: PNG files by name that show no data.
        group: The runs that it belongs to.
        source: The stored weights that it read, such as ``ENTITY/PROJECT/NAME:latest``.
    """

    job_type: str
    name: str
    directory: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    charts: Sequence[Chart] = ()
    plots: Mapping[str, Path] = field(default_factory=dict)
    group: str | None = None
    source: str | None = None


class TrackerService:
    """The service of a tracker beside runs. A ``TrackerEntry`` names a subclass; every method is optional."""

    def report(self, mode: str, report: CommandReport) -> None:
        """Send the results of a command.

        Args:
            mode: What ``--wandb`` was given.
            report: The results.
        """
        raise NotImplementedError

    def dashboard(self, project: str, entity: str | None, *, report: bool, dry_run: bool) -> dict[str, Any]:
        """Make or update a dashboard.

        Args:
            project: Whose runs it shows.
            entity: The user or team; the user's own if ``None``.
            report: Write a report of the comparison, too.
            dry_run: Write nothing.

        Returns:
            ``sections``, each with ``name`` and ``panels``; ``url``, and ``report_url``, ``None`` of a dry run.
        """
        raise NotImplementedError

    def fetch(self, reference: str, parent: Path) -> Path:
        """Download stored weights as a run folder.

        Args:
            reference: What stands behind ``TRACKER:``.
            parent: Where the folder goes; one that is there already is used again.
        """
        raise NotImplementedError


def find_service(name: str, method: str, registry: Registry) -> TrackerService:
    """The service of a tracker, which must have a method.

    Raises:
        UsageError: There is no such tracker, or it does not offer that.
    """
    entry = registry.find("tracker", name).entry
    target = getattr(entry, "service", "")
    module, _, attribute = target.partition(":")
    service = getattr(import_module(module), attribute)() if target else None
    if not isinstance(service, TrackerService) or getattr(type(service), method) is getattr(TrackerService, method):
        offering = [item.entry.name for item in registry.entries("tracker") if getattr(item.entry, "service", "")]
        raise UsageError(
            f"tracker {name!r} has no {method}",
            where=f"tracker {name}",
            why="it only tracks runs",
            fix=f"use one of: {', '.join(offering)}" if offering else "leave it out",
        )
    return service


def fetch_run(run: Path, registry: Registry, parent: Path = Path("artifacts")) -> Path:
    """A run folder as it is, or downloaded where ``TRACKER:REFERENCE`` names stored weights.

    Args:
        run: What the user typed, e.g. ``wandb:ENTITY/PROJECT/NAME:latest``.
        registry: Where the tracker is looked up.
        parent: Where a download goes.

    Raises:
        UsageError: The tracker has no such weights.
    """
    match = _REFERENCE.fullmatch(run.as_posix())
    if match is None or run.exists():
        return run
    name, reference = match.groups()
    if name not in {item.entry.name for item in registry.entries("tracker")}:
        return run
    return find_service(name, "fetch", registry).fetch(reference, parent)


def weights_reference(run: Path) -> str | None:
    """The part behind ``TRACKER:`` in the name of stored weights; ``None`` of a folder."""
    match = _REFERENCE.fullmatch(run.as_posix())
    return None if match is None or run.exists() else match.group(2)
