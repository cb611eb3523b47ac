"""The folder of an export: whole or not there, and never in the place of anything else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from localrules.engine.exported_weights import EXPORT_RECORD
from localrules.errors import UsageError


def is_written(folder: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a folder holds this very export; not if it is absent or empty.

    Args:
        folder: The folder.
        identity: What is exported: parts of ``export.json`` that are to be equal.

    Raises:
        UsageError: It is a file, or holds something else.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UsageError("the export cannot be written", where=str(folder), why="it is a file", fix="name a folder")
    if not any(folder.iterdir()):
        return False
    try:
        # Exports once had no such entry, and were of finished runs but for those that a kill had cut short.
        found = {"done": True, **json.loads((folder / EXPORT_RECORD).read_text(encoding="utf-8"))}
        different = ", ".join(name for name, value in identity.items() if found.get(name) != value)
        if not different:
            return True
        why = f"it holds another export: {different} differ"
    except (OSError, ValueError, TypeError):
        why = "it is not empty, and holds no export"
    raise UsageError(
        "the export is not written over other files",
        where=str(folder),
        why=why,
        fix="name another folder with --out, or remove this one",
    )


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that takes its place when the context ends well, and vanishes otherwise.

    Args:
        folder: The place; absent or an empty folder.

    Raises:
        UsageError: Nothing can be written there.
    """
    partial = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        yield partial
        if folder.exists():
            folder.rmdir()
        partial.rename(folder)
    except OSError as error:
        raise UsageError(
            "the export cannot be written",
            where=str(folder),
            why=error.strerror or str(error),
            fix="name a folder that can be written with --out",
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_record(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``export.json``."""
    (folder / EXPORT_RECORD).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
