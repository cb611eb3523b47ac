"""The folder of a comparison: it belongs to one, and says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localrules.config.diff import identity_settings
from localrules.config.overrides import Tree, diff
from localrules.errors import UsageError
from localrules.utils.atomic_io import write_atomic

RECORD = "comparison.json"
RUNS = "runs"
PAGE = "index.html"


def acquire(folder: Path, settings: Tree | None, fingerprint: str | None = None) -> None:
    """Make the folder a comparison's, or see that it is.

    Args:
        folder: Made if it is not there.
        settings: What all runs share; ``None`` for a page of runs that are elsewhere.
        fingerprint: Of the data that they share.

    Raises:
        UsageError: The folder holds another comparison, or things that are not ours.
    """
    known = _read(folder)
    if known is None:
        if present := [name for name in (RUNS, PAGE) if (folder / name).exists()]:
            raise UsageError(
                "the folder holds something else",
                where=str(folder),
                why=f"there is {' and '.join(present)} in it, and no {RECORD} that a comparison would have left",
                fix="choose another folder with --out",
            )
    elif changed := _changed(known, settings or {}, fingerprint):
        raise UsageError(
            "the folder holds another comparison",
            where=str(folder),
            why="; ".join(changed),
            fix="choose another folder with --out, or repeat the settings; rules and seeds may be others",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if known is None:
            record(folder, settings, [], fingerprint)
    except OSError as error:
        raise UsageError(
            "the folder cannot be written to", where=str(folder), why=str(error), fix="choose another with --out"
        ) from error


def record(folder: Path, settings: Tree | None, rows: list[dict[str, Any]], fingerprint: str | None = None) -> None:
    """Write what was compared and what was found, for scripts."""
    found = {"settings": settings, "fingerprint": fingerprint, "rows": rows}
    write_atomic(folder / RECORD, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


def _changed(known: dict[str, Any], settings: Tree, fingerprint: str | None) -> list[str]:
    """In what settings are others than the folder's, if that makes another comparison of it."""
    was: Tree = known["settings"] or {}
    kept = known.get("fingerprint")
    if kept is None or fingerprint is None:  # then only its place says which data it was
        return diff(was, settings)
    changed = diff(identity_settings(was), identity_settings(settings))
    return changed if kept == fingerprint else [*changed, "data: other images or labels than its runs had"]


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict) or "settings" not in found:
        raise UsageError(
            "the folder's record cannot be read", where=str(folder / RECORD), fix="choose another folder with --out"
        )
    return found
