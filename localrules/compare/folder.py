"""The folder of a comparison: it belongs to one, and says which."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localrules.engine.settings import Tree, differences
from localrules.errors import UsageError
from localrules.files import write_atomic

RECORD = "comparison.json"
RUNS = "runs"
PAGE = "index.html"


def claim(folder: Path, settings: Tree | None) -> None:
    """Make the folder a comparison's, or see that it is.

    Args:
        folder: Made if it is not there.
        settings: What all runs share; ``None`` for a page of runs that are elsewhere.

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
    elif changed := differences({"of": known["settings"] or {}}, {"of": settings or {}}):
        raise UsageError(
            "the folder holds another comparison",
            where=str(folder),
            why="; ".join(line.removeprefix("of.") for line in changed),
            fix="choose another folder with --out, or repeat the settings; rules and seeds may be others",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if known is None:
            record(folder, settings, [])
    except OSError as error:
        raise UsageError(
            "the folder cannot be written to", where=str(folder), why=str(error), fix="choose another with --out"
        ) from error


def record(folder: Path, settings: Tree | None, rows: list[dict[str, Any]]) -> None:
    """Write what was compared and what was found, for scripts."""
    write_atomic(folder / RECORD, json.dumps({"settings": settings, "rows": rows}, indent=2, ensure_ascii=False) + "\n")


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
