"""Processes of a test that form groups as those of a run do, without starting anew for each case."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import torch.distributed as dist

from localrules.runs.processes import leave_group
from localrules.utils.child_process import fork_server

Send = Callable[[Any], None]
"""Sends an object to the test."""


class Groups:
    """The groups that a process can join, one at a time, with all processes of a lower number.

    Args:
        rank: The number of this process.
        ports: The port of each group's store, by the number of its processes.
    """

    def __init__(self, rank: int, ports: dict[int, int]) -> None:
        self.rank, self._ports = rank, ports

    def join(self, count: int) -> bool:
        """Leave the group and describe another one in the environment, as torchrun does; whether this process is in."""
        leave_group()
        if self.rank >= count:
            return False
        group = {"RANK": self.rank, "LOCAL_RANK": self.rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        os.environ.update({name: str(value) for name, value in group.items()}, MASTER_PORT=str(self._ports[count]))
        os.environ.update(MASTER_ADDR="127.0.0.1", TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0")
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        return True


def in_processes(
    counts: Sequence[int], work: Callable[..., None], *args: Any, messages: int
) -> Iterator[tuple[Any, ...]]:
    """Do work in several processes.

    Args:
        counts: The numbers of processes of the groups that they will join; there are as many as in the largest.
        work: Called in each process with its :class:`Groups`, a function that sends, and ``args``.
        *args: More arguments.
        messages: How many objects each process sends.

    Yields:
        What the processes have sent, one object of each.

    Raises:
        AssertionError: The work failed in a process.
    """
    stores = {count: dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for count in counts}
    ports = {count: store.port for count, store in stores.items()}
    context = fork_server(["localrules.runs.train", work.__module__, "lightning_fabric"])
    links, processes = [], []
    for rank in range(max(counts)):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(rank, ports, work, args, theirs), daemon=True)
        process.start()
        theirs.close()
        links.append(ours)
        processes.append(process)
    for _ in range(messages):
        sent = tuple(link.recv() for link in links)
        if failures := [one for one in sent if isinstance(one, _Failure)]:
            raise AssertionError("\n".join(failures))
        yield sent
    for process in processes:
        process.join()


class _Failure(str):
    """The traceback of a process that failed."""


def _serve(
    rank: int, ports: dict[int, int], work: Callable[..., None], args: tuple[Any, ...], link: Connection
) -> None:
    try:
        work(Groups(rank, ports), link.send, *args)
    except BaseException:
        link.send(_Failure(traceback.format_exc()))
        raise
