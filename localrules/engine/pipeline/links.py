"""Bounded queues between neighbouring stages."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

DEPTH = 2
"""Messages that may be on their way between two stages (ours): one is read while the next one arrives."""


class Link:
    """One end of a queue to a neighbour.

    Args:
        rank: The neighbour.
        size: Of each message, in bytes.
        steps: Number of messages that will come at most.
        timeout: Seconds for which the neighbour may let this process wait.

    Attributes:
        waited: Seconds for which this process has waited so far.
    """

    def __init__(self, rank: int, size: int, steps: int, timeout: float) -> None:
        self.waited = 0.0
        self._rank, self._size, self._left = rank, size, steps
        self._timeout = timedelta(seconds=timeout)
        self._moving: deque[tuple[Any, Tensor]] = deque()  # each buffer is kept for as long as it is written or read
        self._spent: list[Tensor] = []

    def free(self) -> None:
        """Let go of messages that have been sent or read.

        Not in a step that is profiled: torch warns of memory that was allocated before.
        """
        if not torch.autograd._profiler_enabled():
            self._spent.clear()

    @property
    def _due(self) -> int:
        """Messages for which the receiver has made room and which have not been sent, between two steps."""
        return min(DEPTH, self._left)

    def _begin(self, transfer: Callable[[Tensor, int], Any], buffer: Tensor) -> None:
        """Begin to send or receive a buffer.

        Not recorded by a profiler: the transfer may end after a profile, and would write to what is freed by then.
        """
        torch.autograd._enable_record_function(False)
        try:
            self._moving.append((transfer(buffer, self._rank), buffer))
        finally:
            torch.autograd._enable_record_function(True)

    def _wait(self) -> Tensor:
        """Wait until the oldest transfer is over; its buffer."""
        began = time.perf_counter()
        work, buffer = self._moving.popleft()
        work.wait(self._timeout)
        self.waited += time.perf_counter() - began
        self._spent.append(buffer)
        return buffer


class Sender(Link):
    """The end from which messages go to the next stage, while this process computes."""

    def send(self, message: Tensor) -> None:
        """Send a message; wait where the queue is full."""
        while len(self._moving) >= DEPTH:
            self._wait()
        self._begin(dist.isend, message)
        self._left -= 1

    def close(self) -> None:
        """Fill the room that the receiver has made, since it cannot take that back; wait until all has arrived."""
        for _ in range(self._due):
            self._begin(dist.isend, torch.zeros(self._size, dtype=torch.uint8))
        while self._moving:
            self._wait()


class Receiver(Link):
    """The end to which messages come from the stage before, while this process computes."""

    def __init__(self, rank: int, size: int, steps: int, timeout: float) -> None:
        super().__init__(rank, size, steps, timeout)
        self._make_room()

    def receive(self) -> Tensor:
        """The next message."""
        message = self._wait()
        self._left -= 1
        self._make_room()
        return message

    def close(self) -> None:
        """Take what :meth:`Sender.close` sends."""
        while self._moving:
            self._wait()

    def _make_room(self) -> None:
        while len(self._moving) < self._due:
            self._begin(dist.irecv, torch.empty(self._size, dtype=torch.uint8))
