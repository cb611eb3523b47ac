"""Processes of a run as torchrun starts them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from helpers.tiny_runs import command, start_process


def run_by_torchrun(words: list[str], place: Path) -> dict[str, Any]:
    """Run a command in two processes; the JSON document of the first. The other one must print nothing.

    Args:
        words: The command, with ``--json``.
        place: A folder for what they print.
    """
    from torch.distributed import TCPStore

    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    processes = [start_process(_launched, rank, agent.port, words, place / f"rank{rank}.err") for rank in range(2)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0], (place / "rank1.err").read_text()
    assert (place / "rank1.out").read_text() == (place / "rank1.err").read_text() == ""
    document: dict[str, Any] = json.loads((place / "rank0.out").read_text())
    return document


def _launched(rank: int, port: int, words: list[str], errors: Path) -> None:
    group = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in group.items()}, MASTER_ADDR="127.0.0.1")
    os.environ.update(TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0", GLOO_SOCKET_IFNAME="lo")
    command(words, errors)
