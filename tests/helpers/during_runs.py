"""Things that happen to the processes of a run while it trains, and the state that it leaves."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from localrules.engine.step import train_step


def at_step(number: int, act: Callable[[], object], module: Any, patch: pytest.MonkeyPatch) -> None:
    """Do something in the main process before a step that a module takes."""

    def take(session: Any, phase: Any, step: int, *network: Any) -> Any:
        if step == number:
            act()
        return train_step(session, phase, step, *network)

    patch.setattr(module, "train_step", take)


def interrupt() -> None:
    """Press Ctrl-C."""
    os.kill(os.getpid(), signal.SIGINT)


def send(number: int) -> None:
    """Send a signal to the last process that the main one has started."""
    last = max(multiprocessing.active_children(), key=lambda process: int(process.name.rpartition("-")[2]))
    assert last.pid is not None
    os.kill(last.pid, number)


def saved_state(summary: dict[str, Any]) -> dict[str, Any]:
    """The content of a run's checkpoint, but for where the run stands in time."""
    state: dict[str, Any] = torch.load(Path(summary["run_dir"]) / "checkpoints" / "last.pt", weights_only=True)
    del state["progress"]
    return state
