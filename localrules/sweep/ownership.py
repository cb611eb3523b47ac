"""The process that a trial of a study belongs to, and whether it is still there."""

from __future__ import annotations

import os
import socket
from typing import Any
from uuid import uuid4

OWNER, VOID = "owner", "void"
"""Attributes of a trial: the process at work on it, and whether it was given up before its values were drawn."""

_TOKEN = uuid4().hex
"""Tells this process from an earlier one with its number, as the first process of a container has."""


def me() -> str:
    """This process, as ``OWNER`` has it."""
    return f"{socket.gethostname()} {os.getpid()} {_TOKEN}"


def is_gone(owner: str) -> bool:
    """Whether a process of this machine has ended; one of another machine counts as running."""
    host, number, token = [*owner.split(" "), "", "", ""][:3]
    if not number.isdigit():
        return True
    if host != socket.gethostname():
        return False
    if int(number) == os.getpid():
        return token != _TOKEN
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


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
