"""Work in a forked process: it begins with the state of this process as it is, and changes nothing of it."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from localrules.errors import LocalRulesError, error_message, error_of

TIMEOUT = 600.0  # seconds until a forked process counts as stuck
ATTEMPTS = 3
"""Forks to try: now and then a thread of a library of the process that is forked ends its copy (std::system_error)."""

FAILED = "a training of the audit failed"

Plain = TypeVar("Plain")


def can_fork() -> bool:
    """Whether a process that has trained can be forked, and its copy can train: not where torch found a GPU."""
    return hasattr(os, "fork") and sys.platform != "darwin" and not torch.accelerator.is_available()


def in_fork_if_possible(work: Callable[[], Plain], *, timeout: float = TIMEOUT) -> Plain:
    """As :func:`in_fork`; in this process where none can be forked."""
    if can_fork():
        return in_fork(work, timeout=timeout)
    try:
        return work()
    except Exception as error:
        raise error_of(error_message(error, FAILED)) from error


def in_fork(work: Callable[[], Plain], *, timeout: float = TIMEOUT) -> Plain:
    """Do some work in a forked process of one thread, and return its result: what JSON can hold.

    Its warnings are not shown: every fork would repeat them.

    Args:
        work: What to do.
        timeout: Seconds until it counts as stuck.

    Raises:
        LocalRulesError: The error of the work, or that it did not end.
    """
    for _ in range(ATTEMPTS):
        answer = _answer_of_fork(work, timeout)
        if answer is None:
            raise LocalRulesError(FAILED, why=f"there was no answer within {timeout:.0f} seconds")
        if answer:
            result = json.loads(answer)
            if "error" in result:
                raise error_of(result["error"])
            found: Plain = result["value"]
            return found
    raise LocalRulesError(FAILED, why="its process ended without an answer")


def _answer_of_fork(work: Callable[[], object], timeout: float) -> bytes | None:
    """The bytes that the process sends until its end; ``None`` if the end does not come in time."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # From 3.12 on Python warns of every fork beside other threads. Those of torch and of this package hold no lock
        # while it waits for one of its own calls.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if not child:
        os.close(reader)
        _work_and_exit(work, writer)
    os.close(writer)
    try:
        return _read_all(reader, timeout)
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)  # it has ended, or is stuck
        os.waitpid(child, 0)


def _work_and_exit(work: Callable[[], object], writer: int) -> None:
    code = 1
    try:
        warnings.simplefilter("ignore")
        # The threads of the process that was forked are not in this one: who asked for them would wait forever, as
        # would a session that is built here with the run's number of threads.
        torch.set_num_threads(1)
        torch.set_num_threads = lambda nthreads: None
        try:
            answer: dict[str, Any] = {"value": work()}
        except Exception as error:
            answer = {"error": error_message(error, FAILED)}
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(json.dumps(answer).encode())
        code = 0
    finally:
        os._exit(code)


def _read_all(reader: int, timeout: float) -> bytes | None:
    """All that comes until the end; ``None`` if the end does not come in time."""
    parts: list[bytes] = []
    until = time.monotonic() + timeout
    while (left := until - time.monotonic()) > 0:
        if not select.select([reader], [], [], left)[0]:
            break
        part = os.read(reader, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
    return None
