"""Processes of a run as torchrun starts them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from helpers.tiny_runs import command, start_process

LOCAL = 2  # processes on a node


def run_by_torchrun(words: list[str], place: Path, nodes: int = 1) -> dict[str, Any]:
    """Run a command in two processes a node; the JSON document of the first. The others must print nothing.

    Args:
        words: The command, with ``--json``.
        place: A folder for what they print.
        nodes: Machines that the processes take themselves to be on.
    """
    from torch.distributed import TCPStore

    agent = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    count = LOCAL * nodes
    processes = [
        start_process(_launched, rank, count, agent.port, words, place / f"rank{rank}.err") for rank in range(count)
    ]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * count, (place / "rank1.err").read_text()
    for rank in range(1, count):
        assert (place / f"rank{rank}.out").read_text() == (place / f"rank{rank}.err").read_text() == ""
    document: dict[str, Any] = json.loads((place / "rank0.out").read_text())
    return document


def _launched(rank: int, count: int, port: int, words: list[str], errors: Path) -> None:
    node, local = divmod(rank, LOCAL)
    group = {"RANK": rank, "LOCAL_RANK": local, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": LOCAL, "GROUP_RANK": node}
    os.environ.update({name: str(value) for name, value in group.items()}, MASTER_ADDR="127.0.0.1")
    os.environ["MASTER_PORT"] = str(port)
    os.environ.update(TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0", GLOO_SOCKET_IFNAME="lo")
    command(words, errors)
