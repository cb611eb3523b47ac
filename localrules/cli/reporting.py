"""The results of a command, sent to a tracker (``--wandb``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
