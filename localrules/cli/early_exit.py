"""Calls that end the process at once: a command in the middle of its work would seem done, and say nothing."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_CALLS = ("_exit", "execv", "execve")  # all other functions of os that end the process so call one of these


@contextmanager
def refuse_early_exit() -> Iterator[None]:
    """Let ``os._exit`` and ``os.exec...`` raise SystemExit meanwhile, which is an error of the plugin that calls them.

    On another thread, where an exception would end that thread alone, they say who called them and end the process
    with an exit code other than 0. Processes that are forked meanwhile end as they do elsewhere.
    """
    with ExitStack() as undo:
        for name in _CALLS:
            undo.callback(setattr, os, name, getattr(os, name))
            setattr(os, name, _refusal(name, getattr(os, name), os._exit, os.getpid(), threading.get_ident()))
        yield


def _refusal(
    name: str, call: Callable[..., Any], end: Callable[[int], Any], process: int, thread: int
) -> Callable[..., Any]:
    def refuse(*arguments: Any, **named: Any) -> None:
        if os.getpid() != process:
            call(*arguments, **named)
        code = sys._getframe(1).f_code
        what = f"os.{name} was called, which ends the process at once: no summary, no output"
        if threading.get_ident() == thread:
            raise SystemExit(what)
        place = f"{code.co_filename}, line {sys._getframe(1).f_lineno} (in {code.co_qualname})"
        os.write(2, f"Error: {what}\n  where: {place}\n".encode(errors="backslashreplace"))
        end(1)

    return refuse
