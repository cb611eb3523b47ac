"""Global state of the process that code of a plugin may change, and that is put back: streams and settings."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from localrules.utils.process_settings import SETTINGS

_STREAMS = ("stdout", "stderr")
_kept_descriptors: dict[str, int] = {}
_imported: set[str] = set()


@contextmanager
def keep_streams() -> Iterator[None]:
    """Keep copies of standard output and error meanwhile, from which :class:`GlobalState` can open them again."""
    kept = {name: os.dup(number) for number, name in enumerate(_STREAMS, 1) if _is_open(number)}
    before = dict(_kept_descriptors)
    _kept_descriptors.update(kept)
    try:
        yield
    finally:
        _kept_descriptors.clear()
        _kept_descriptors.update(before)
        for descriptor in kept.values():
            os.close(descriptor)


class GlobalState:
    """The global state at the time when the object is made.

    It is made in every step, so it asks for nothing slow. The settings of a module are left out before that is
    imported.
    """

    __slots__ = ("_closed", "_open", "_settings", "_streams")

    def __init__(self) -> None:
        self._streams = (sys.stdout, sys.stderr)
        self._closed = (_is_closed(sys.stdout), _is_closed(sys.stderr))
        self._open = (_is_open(1), _is_open(2))
        self._settings = [(setting, setting.read()) for setting in SETTINGS if _is_imported(setting.module)]

    def restore(self) -> list[str]:
        """Put everything back.

        Returns:
            The changes that were undone, as what somebody did: ``"closed sys.stdout"``.
        """
        done: list[str] = []
        for at, name in enumerate(_STREAMS):
            self._restore_stream(at, name, done)
        for setting, before in self._settings:
            now = setting.read()
            if now != before and (change := setting.change(before, now)):
                done.append(change)
                setting.write(before)
        return done

    def _restore_stream(self, at: int, name: str, done: list[str]) -> None:
        if self._open[at] and not _is_open(at + 1):
            done.append(f"closed file descriptor {at + 1} (sys.{name})")
            if name in _kept_descriptors:
                os.dup2(_kept_descriptors[name], at + 1)
        stream = self._streams[at]
        if _is_closed(stream) and not self._closed[at]:
            if not done or name not in done[-1]:
                done.append(f"closed sys.{name}")
            stream = _reopened(at, name)
        elif getattr(sys, name) is not stream:
            done.append(f"replaced sys.{name}")
        setattr(sys, name, stream)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _is_closed(stream: TextIO | None) -> bool:
    return stream is None or bool(getattr(stream, "closed", False))


def _reopened(at: int, name: str) -> TextIO:
    """A stream in the place of one that was closed."""
    original: TextIO | None = getattr(sys, f"__{name}__")
    if original is not None and not original.closed:
        return original
    number = at + 1 if _is_open(at + 1) else None
    place: int | str = os.devnull if number is None else number
    reopened: TextIO = open(place, "w", encoding="utf-8", errors="replace", closefd=number is None)  # noqa: SIM115
    return reopened


def _is_imported(module: str) -> bool:
    """Whether a module is imported, and not just being imported."""
    if module in _imported:
        return True
    found = sys.modules.get(module)
    if found is None or getattr(found.__spec__, "_initializing", False):
        return False
    _imported.add(module)
    return True
