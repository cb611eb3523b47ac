"""The processes of a run as a grid: replicas, which divide each batch, by stages, which divide the layers."""

from __future__ import annotations

from dataclasses import dataclass

from localrules.engine.ranks import Ranks


@dataclass(frozen=True)
class Grid:
    """The groups that a process belongs to. In a run with one process each has this process alone.

    Processes are numbered replica by replica, so that the stages of a replica, which send each other most, are
    neighbours on one machine; in a replica the last stage comes first, so that process 0 is a last stage.

    Attributes:
        world: All processes.
        ranks: Those that train the same layers on the other parts of the batch, one of each replica.
        replica: Those that train the other layers on the same part of the batch, the last stage first.
    """

    world: Ranks
    ranks: Ranks
    replica: Ranks

    @classmethod
    def form(cls, world: Ranks, stages: int, timeout: float) -> Grid:
        """Form the groups; all processes do so at the same time.

        Args:
            world: All processes.
            stages: Number of stages of a replica, by which that of the processes can be divided.
            timeout: Seconds for which processes wait for each other.
        """
        replicas = [range(first, first + stages) for first in range(0, world.count, stages)]
        ranks = world.divide([range(first, world.count, stages) for first in range(stages)], timeout)
        return cls(world, ranks, world.divide(replicas, timeout))

    @property
    def stage(self) -> int:
        """The stage that this process trains, counted from 0 in forward order."""
        return self.replica.count - 1 - self.replica.index
