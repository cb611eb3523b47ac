"""Global state of the process that code of a plugin may change, and that is put back: of torch, streams, folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

_STREAMS = ("stdout", "stderr")
_kept_descriptors: dict[str, int] = {}


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

    It is made in every step, so it asks for nothing slow. Torch's part is left out before torch is imported.
    """

    __slots__ = ("_closed", "_folder", "_open", "_streams", "_torch")

    def __init__(self) -> None:
        self._streams = (sys.stdout, sys.stderr)
        self._closed = (_is_closed(sys.stdout), _is_closed(sys.stderr))
        self._open = (_is_open(1), _is_open(2))
        self._folder = _working_folder()
        self._torch = _torch_state()

    def restore(self) -> list[str]:
        """Put everything back.

        Returns:
            The changes that were undone, as what somebody did: ``"closed sys.stdout"``.
        """
        done: list[str] = []
        for at, name in enumerate(_STREAMS):
            self._restore_stream(at, name, done)
        if self._folder is not None and _working_folder() != self._folder:
            done.append("changed the working directory")
            os.chdir(self._folder)
        if self._torch is not None:
            _restore_torch(self._torch, done)
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


def _working_folder() -> str | None:
    """The working directory, if it has not been removed."""
    try:
        return os.getcwd()
    except OSError:
        return None


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


def _torch_state() -> tuple[Any, ...] | None:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_default_device"):  # absent, or being imported
        return None
    return (
        torch.get_default_dtype(),
        torch.empty(0).device,  # get_default_device is slower
        torch.is_grad_enabled(),
        torch.get_deterministic_debug_mode(),
    )


def _restore_torch(before: tuple[Any, ...], done: list[str]) -> None:
    import torch

    now = _torch_state()
    if now == before or now is None:
        return
    dtype, device, gradients, deterministic = before
    if now[0] != dtype:
        done.append(f"set torch's default dtype to {now[0]}")
        torch.set_default_dtype(dtype)
    if now[1] != device:
        done.append(f"set torch's default device to {now[1]}")
        torch.set_default_device(None if device.type == "cpu" else device)
    if now[2] != gradients:
        done.append(f"turned gradients {'on' if now[2] else 'off'}")
        torch.set_grad_enabled(gradients)
    if now[3] != deterministic:
        done.append(f"turned torch's deterministic algorithms {'on' if now[3] else 'off'}")
        torch.set_deterministic_debug_mode(deterministic)
