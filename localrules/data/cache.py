"""Decoded data sets, kept on the disk. Losing the folder costs time, never anything else."""

from __future__ import annotations

import contextlib
import os
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

DIRECTORY_VARIABLE = "LOCALRULES_CACHE"
UNSOUND = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
)  # what numpy raises at a damaged or absent entry
Arrays = dict[str, "NDArray[np.generic]"]


def directory() -> Path:
    """``$LOCALRULES_CACHE``, else the user's cache directory; it may be deleted at any time."""
    chosen = os.environ.get(DIRECTORY_VARIABLE)
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("localrules")


def load_or_build(kind: str, key: str, build: Callable[[], Mapping[str, NDArray[np.generic]]]) -> Arrays:
    """The arrays that ``build`` makes, from the cache if they are there.

    Args:
        kind: What they are, with the version of their layout: ``fer2013-1``.
        key: A hash of the *content* they are made from, so that a changed file can never meet an old entry.
        build: Makes the arrays (no object arrays). It is not called when a sound entry exists.

    A damaged entry (the zip format has checksums) is made anew; a directory that cannot be written is warned of.
    """
    path = directory() / f"{kind}-{key}.npz"
    with contextlib.suppress(*UNSOUND), path.open("rb") as file, np.load(file) as entry:
        return {name: entry[name] for name in entry.files}
    arrays = dict(build())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda part: np.savez(part, **arrays))  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(
            f"the decoded data could not be kept in {path.parent} ({error.strerror}): the next run decodes it again. "
            f"Set {DIRECTORY_VARIABLE} to a folder that can be written.",
            stacklevel=2,
        )
    return arrays
