"""Standard streams that every command can write to, whatever the shell has made of them."""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_ERRORS = "localrules_plain"
_STANDARD_DESCRIPTORS = (0, 1, 2)


@contextmanager
def usable_streams() -> Iterator[None]:
    """Let standard output and error take any text meanwhile.

    A character that the encoding lacks becomes an escape, such as ``\\xfc``, and what is written to a closed stream
    (``>&-``) is lost. A closed descriptor is opened: the next file of ours would get its number otherwise, and with it
    the output of libraries.
    """
    for number in _STANDARD_DESCRIPTORS:
        _open_descriptor(number)
    codecs.register_error(_ERRORS, _plain_character)
    with ExitStack() as undo:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is None:
                nowhere = undo.enter_context(open(os.devnull, "w", encoding="utf-8", errors="replace"))
                setattr(sys, name, nowhere)
                undo.callback(setattr, sys, name, None)
            elif hasattr(stream, "reconfigure") and not stream.closed:
                undo.callback(_set_errors, stream, stream.errors)
                _set_errors(stream, _ERRORS)
        undo.callback(discard_output)  # first: what follows would fail on a stream that nobody reads
        yield


def discard_output() -> None:
    """Write what standard output and error still hold, or drop it where nobody can take it.

    Python would complain at exit otherwise, with exit code 120.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _set_errors(stream: Any, errors: str) -> None:
    if not stream.closed:
        stream.reconfigure(errors=errors)


def _open_descriptor(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
        os.set_inheritable(opened, True)


def _plain_character(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start]
    return "..." if found == "…" else found.encode("ascii", "backslashreplace").decode(), error.start + 1
