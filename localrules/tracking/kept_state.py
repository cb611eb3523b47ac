"""State of trackers that outlives a kill before the first checkpoint, such as the id of a run on a server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from localrules.callbacks.base import RunInfo
from localrules.utils.atomic_io import write_atomic

FILE = "trackers.json"


def keep_now(run: RunInfo, name: str, value: Any) -> None:
    """Put an entry into the state of a run, and into a file of its folder at once.

    Args:
        run: The run.
        name: Of the entry.
        value: Plain values only, as in ``RunInfo.state``.
    """
    run.state[name] = value
    kept = {**read_kept(run.directory), name: value}
    write_atomic(run.directory / FILE, json.dumps(kept, indent=2) + "\n")


def read_kept(folder: Path) -> dict[str, Any]:
    """The entries that were kept in a run folder; none where the file is missing or damaged."""
    try:
        kept = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
