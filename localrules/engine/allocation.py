"""Memory that one step gives back and the next asks for again."""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of glibc's mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, so that the next step finds it.

    glibc gives large blocks back to the system when they are freed. A step of training frees all its maps, the next one
    asks for as many, and the system has to find and clear each page anew: thousands of times a step. The process then
    stays as large as its peak.

    Nothing is changed where the user has: by ``GLIBC_TUNABLES`` or a ``MALLOC_...`` variable, even an empty one. Nor on
    systems without glibc.

    Returns:
        Whether it was changed.
    """
    chosen = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(*setting) for setting in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 2**26)))
