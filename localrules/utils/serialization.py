"""Plain values for file formats: JSON has no NaN, TOML has no null, and neither has paths or tuples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def without_nonfinite(value: Any) -> Any:
    """A value for JSON: numbers that are not finite become ``None``, paths become text, tuples become lists."""
    if isinstance(value, Mapping):
        return {str(key): without_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nonfinite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def without_none(value: Any) -> Any:
    """A value for TOML: entries that are ``None`` are left out, paths become text, tuples become lists."""
    if isinstance(value, Mapping):
        return {str(key): without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [without_none(item) for item in value]
    return str(value) if isinstance(value, Path) else value
