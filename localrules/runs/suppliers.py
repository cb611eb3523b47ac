"""The suppliers of a run: which plugins it had its rule, network and data set from, for when they are not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from localrules.config.overrides import Tree
from localrules.errors import UsageError
from localrules.registry.discovery import OWN_DISTRIBUTION
from localrules.registry.errors import UnknownNameError

_DIGEST = re.compile("[0-9a-f]{16}")  # of a plugin file, in place of the version: see engine.environment.providers


@contextmanager
def name_suppliers(record: Tree) -> Iterator[None]:
    """An error for a name that no plugin supplies says what supplied it when the run was started.

    Args:
        record: The run's ``config.toml``.
    """
    try:
        yield
    except UnknownNameError as error:
        supplied = record["environment"].get("supplied_by", {}).get(error.kind, "")
        absent = [one for one in supplied.split(", ") if one and not one.startswith(f"{OWN_DISTRIBUTION} ")]
        if not absent:
            raise
        raise UsageError(
            error.what,
            where=error.where,
            why=f"the run had it from {', '.join(absent)}, which is not here",
            fix=" and ".join(map(_remedy, absent)),
        ) from error.__cause__


def _remedy(supplier: str) -> str:
    """The option that names a file, or the command that installs a distribution."""
    name, _, version = supplier.rpartition(" ")
    return f"--plugin PATH/TO/{name}" if _DIGEST.fullmatch(version) else f"pip install {name}=={version}"
