"""Processes of our own that begin as clean as possible."""

from __future__ import annotations

import multiprocessing
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

_starting = threading.Lock()


def start_child(
    target: Callable[..., None], args: tuple[Any, ...], preload: Sequence[str], *, daemon: bool = True
) -> tuple[BaseProcess, Connection]:
    """Start a process, with a pipe to it.

    It is made by a fork server where there is one: it starts at once, imports nothing of the user's script, and shares
    no thread or lock with this process. Its end of the pipe breaks when this process ends.

    Args:
        target: Called in it with ``args`` and its end of the pipe.
        args: Can be pickled.
        preload: Modules that the fork server imports.
        daemon: Whether it may have no processes of its own.
    """
    ours, theirs = multiprocessing.Pipe()
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(list(preload))
    process = context.Process(target=target, args=(*args, theirs), daemon=daemon)  # type: ignore[attr-defined]
    with _starting, _without_main_module():
        process.start()
    theirs.close()
    return process, ours


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Hide the user's script, which a new process would run again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
