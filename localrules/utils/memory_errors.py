"""Errors of sizes: memory that the machine does not have, and numbers that no tensor can have."""

from __future__ import annotations

import re

from localrules.errors import LocalRulesError, UsageError, error_text

_UNITS = {"": 0, "KiB": 1, "MiB": 2, "GiB": 3, "TiB": 4, "PiB": 5, "EiB": 6}
_ASKED = re.compile(r"(?:allocate|Unable to allocate)\s+([\d.]+)\s*(bytes|[KMGTPE]iB)")
_FREE = re.compile(r"where ([\d.]+) are free")
_OUT_OF_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|Unable to allocate", re.IGNORECASE)
_NO_SIZE = re.compile(
    r"Storage size calculation overflowed|integer multiplication overflow|Overflow when unpacking long"
    r"|negative dimension|Dimension size must be non-negative|too large to convert|too many bytes"
    r"|array is too big|Maximum allowed (?:dimension|size) exceeded|invalid shape dimension"
    r"|cannot fit 'int'|int too big to convert"
)
_FIX = "choose smaller sizes: of the network, of the rule's own modules, or of the batch"


def size_error(error: BaseException, where: str = "") -> LocalRulesError | None:
    """The error for people, if an exception says that memory ran out, or that a size is none.

    Args:
        error: Raised by Python, torch or numpy.
        where: What asked for the size.
    """
    text = error_text(error).partition(" Exception raised from")[0]
    if _NO_SIZE.search(text):
        return UsageError("a size is too large for any tensor", where=where, why=text[:300], fix=_FIX)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(text)):
        asked = _ASKED.search(text)
        why = f"{_gib(asked[1], asked[2]):,.1f} GiB were asked for at once" if asked else text[:300]
        if free := _FREE.search(text):
            why += f", and {float(free[1]):,.1f} GiB are free"
        return LocalRulesError("there is not enough memory", where=where, why=why, fix=_FIX)
    return None


def _gib(number: str, unit: str) -> float:
    power = _UNITS["" if unit == "bytes" else unit]
    return float(number) * 1024.0 ** (power - _UNITS["GiB"])
