"""Records of a run folder: ``config.toml`` when the run starts, ``summary.json`` when it ends."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from localrules.errors import UsageError
from localrules.utils.atomic_io import write_atomic
from localrules.utils.serialization import without_none, without_nonfinite

CONFIG = "config.toml"
SUMMARY = "summary.json"


def write_config(directory: Path, config: Mapping[str, Any]) -> None:
    """Write the resolved configuration. TOML has no null: entries that are ``None`` are left out."""
    text = tomli_w.dumps(without_none(config), multiline_strings=True)
    write_atomic(directory / CONFIG, text)


def read_config(directory: Path) -> dict[str, Any]:
    """Read a run's resolved configuration back.

    Raises:
        UsageError: The folder is not a run folder, or somebody edited the file into something that is not TOML.
    """
    path = directory / CONFIG
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        why = f"there is no {CONFIG} in it" if directory.is_dir() else "there is no such folder"
        raise UsageError(
            "this is not a run folder",
            where=str(directory),
            why=why,
            fix="name a folder that 'localrules run' made, such as one in runs/",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            "the run's configuration cannot be read", where=str(path), why=str(error), fix="undo the edit"
        ) from None


def write_summary(directory: Path, summary: Mapping[str, Any]) -> None:
    """Write how the run ended. JSON has no NaN: metrics that are not finite become null."""
    text = json.dumps(without_nonfinite(summary), indent=2, allow_nan=False, ensure_ascii=False)
    write_atomic(directory / SUMMARY, text + "\n")


def read_summary(directory: Path) -> dict[str, Any] | None:
    """The summary of the run, or ``None`` if it has not ended."""
    try:
        return json.loads((directory / SUMMARY).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise UsageError(
            "the run's summary cannot be read",
            where=str(directory / SUMMARY),
            why=str(error),
            fix=f"remove it and continue with: localrules run --resume {directory}",
        ) from None
