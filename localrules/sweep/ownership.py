"""The process that a trial of a study belongs to, and whether it is still there."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any
from uuid import uuid4

OWNER, VOID = "owner", "void"
"""Attributes of a trial: the process at work on it, and whether it was given up before its values were drawn."""

_TOKEN = uuid4().hex
"""Tells this process from an earlier one with its number, as the first process of a container has."""


def me() -> str:
    """This process, as ``OWNER`` has it."""
    return f"{socket.gethostname()} {os.getpid()} {_TOKEN} {_start_of(os.getpid())} {_namespace()}"


def is_gone(owner: str) -> bool:
    """Whether a process of this machine has ended; one of another machine or container counts as running."""
    host, number, token, start, namespace = [*owner.split(" "), "", "", "", "", ""][:5]
    if not number.isdigit():
        return True
    if host != socket.gethostname() or (namespace and namespace != _namespace()):
        return False
    if int(number) == os.getpid():
        return token != _TOKEN
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    now = _start_of(int(number))
    return bool(start and now and start != now)  # the system has given its number to another process


def _start_of(number: int) -> str:
    """The start of a process, in ticks since that of the machine; empty where the system does not tell."""
    try:
        fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return fields.rpartition(")")[2].split()[19]  # the name, in brackets, may contain spaces


def _namespace() -> str:
    """The numbering of this process: containers of one machine may share its name, and have numbers of their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def release(trial: Any) -> None:
    """Let anybody continue a trial."""
    trial.set_user_attr(OWNER, "")


def is_untouched(trials: list[Any]) -> bool:
    """Whether no trial is over and none at work, as after a first command that failed."""
    return all(
        trial.user_attrs.get(VOID)
        or trial.state.name == "WAITING"
        or (trial.state.name == "RUNNING" and is_gone(trial.user_attrs.get(OWNER, "")))
        for trial in trials
    )
