"""Records of a run folder: ``config.toml`` when the run starts, ``summary.json`` when it ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from localrules.config.overrides import parse_toml
from localrules.errors import UsageError, describe_exception
from localrules.utils.atomic_io import write_atomic
from localrules.utils.serialization import without_none, without_nonfinite
from localrules.utils.text import shell_quote

CONFIG = "config.toml"
SUMMARY = "summary.json"
PAGE = "index.html"
_NUMBERS = ("steps", "parameters", "valid_accuracy", "majority_share", "seconds", "step_seconds")
_FIX = "undo the edit, or put the file back as the run wrote it"


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
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        why = f"there is no {CONFIG} in it" if directory.is_dir() else "there is no such folder"
        raise UsageError(
            "this is not a run folder",
            where=str(directory),
            why=why,
            fix="name a folder that 'localrules run' made, such as one in runs/",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the run's configuration cannot be read", where=str(path), why=str(error), fix=_FIX) from None
    return parse_toml(text, "the run's configuration", str(path))


def write_summary(directory: Path, summary: Mapping[str, Any]) -> None:
    """Write how the run ended. JSON has no NaN: metrics that are not finite become null."""
    text = json.dumps(without_nonfinite(summary), indent=2, allow_nan=False, ensure_ascii=False)
    write_atomic(directory / SUMMARY, text + "\n")


def read_summary(directory: Path) -> dict[str, Any] | None:
    """The summary of the run, or ``None`` if it has not ended."""
    try:
        found = json.loads((directory / SUMMARY).read_text(encoding="utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError, RecursionError) as error:
        why = describe_exception(error) if isinstance(error, RecursionError) else str(error)
    else:
        if not isinstance(found, dict):
            why = f"it holds a value of type {type(found).__name__}, and should hold an object"
        elif found.get("status") == "done" and (wrong := [key for key in _NUMBERS if not _is_number(found, key)]):
            why = f"its {wrong[0]!r} is missing, or not a number"
        else:
            return found
    raise UsageError(
        "the run's summary cannot be read",
        where=str(directory / SUMMARY),
        why=why,
        fix=f"remove it and continue with: localrules run --resume {shell_quote(directory)}",
    )


def _is_number(summary: Mapping[str, Any], key: str) -> bool:
    """Whether a summary has a number, or null, of that name."""
    value = summary.get(key, "")
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
