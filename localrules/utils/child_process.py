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

# Any optimizer imports it when it is made, which takes a second or more.
IMPORTED_LATE = "torch._dynamo"

_starting = threading.Lock()


def fork_server(preload: Sequence[str]) -> Any:
    """The context of a fork server, or that of fresh processes where there is none.

    Args:
        preload: Modules that the server imports, beside what PyTorch imports late. They count if it does not run yet.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*preload, IMPORTED_LATE])
    return context


def start_child(
    target: Callable[..., None], args: tuple[Any, ...], preload: Sequence[str], *, daemon: bool = True
) -> tuple[BaseProcess, Connection]:
    """Start a process, with a pipe to it.

    It is made by a fork server where there is one: it starts at once, imports nothing of the user's script, and shares
    no thread or lock with this process. Its end of the pipe breaks when this process ends.

    Args:
        target: Called in it with ``args`` and its end of the pipe.
        args: Can be pickled.
        preload: Modules that the fork server imports first.
        daemon: Whether it may have no processes of its own.
    """
    ours, theirs = multiprocessing.Pipe()
    process: BaseProcess = fork_server(preload).Process(target=target, args=(*args, theirs), daemon=daemon)
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
