"""The suppliers of a run: which plugins it had its rule, network and data set from, for when they are not there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from localrules.config.overrides import Tree
from localrules.errors import UsageError
from localrules.registry.discovery import OWN_DISTRIBUTION
from localrules.registry.errors import UnknownNameError

_FILE = re.compile(r"(.+) [0-9a-f]{16}")  # as ``engine.environment.providers`` records a plugin file


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
        files = [_FILE.fullmatch(supplier) for supplier in absent]
        names = [file[1] if file else supplier for file, supplier in zip(files, absent, strict=True)]
        hints = [
            f"--plugin PATH/TO/{name}" if file else _installing(name) for file, name in zip(files, names, strict=True)
        ]
        raise UsageError(
            error.what,
            where=error.where,
            why=f"the run had it from {', '.join(names)}, which is not here",
            fix=" and ".join(hints),
        ) from error.__cause__


def _installing(supplier: str) -> str:
    name, _, version = supplier.rpartition(" ")
    return f"pip install {name}=={version}"
