"""Packages of trackers that are extras of localrules."""

from __future__ import annotations

import importlib.util

from localrules.errors import UsageError


def require_extra(package: str, title: str) -> None:
    """Refuse a tracker whose package is missing: at once, not after training.

    Args:
        package: The package, whose name is that of the tracker and of the extra.
        title: How it is written.

    Raises:
        UsageError: It is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise UsageError(
            f"{title} is not installed",
            where=f"tracker {package}",
            why="it is an extra of localrules, since most runs do without",
            fix=f"pip install 'localrules[{package}]'",
        )
