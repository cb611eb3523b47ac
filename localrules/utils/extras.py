"""Packages that are extras of localrules."""

from __future__ import annotations

import importlib.util

from localrules.errors import MissingDependencyError


def require_extra(
    extra: str, packages: tuple[str, ...], where: str, *, title: str = "", why: str = "most runs do without"
) -> None:
    """Refuse what needs packages that are missing: at once, before any work.

    Args:
        extra: Of localrules, which installs them.
        packages: The names to import.
        where: What needs them.
        title: How a package is written, if not as it is imported.
        why: Why they are not installed with localrules.

    Raises:
        MissingDependencyError: One is not installed.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingDependencyError(
            f"{title or ', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            where=where,
            why=f"it is an extra of localrules, since {why}",
            fix=f"pip install 'localrules[{extra}]'",
        )
