"""The launcher of this process: torchrun, SLURM or the user. Known from the environment, without torch."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Launch:
    """A launcher that started this process as one of several.

    Attributes:
        launcher: ``torchrun`` or ``SLURM``.
        rank: The number of this process.
        count: Number of processes, on all machines.
        local_count: Number of processes on this machine.
    """

    launcher: str
    rank: int
    count: int
    local_count: int


def external_launch() -> Launch | None:
    """The launcher that started this process as one of several; ``None`` if nobody did."""
    env = os.environ
    count = _number("WORLD_SIZE")
    if count > 1 and {"RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"} <= env.keys():
        return Launch("torchrun", _number("RANK"), count, _number("LOCAL_WORLD_SIZE") or count)
    count = _number("SLURM_STEP_NUM_TASKS")  # of srun; in a batch script alone it is not set
    if count > 1 and "SLURM_PROCID" in env:
        here = env.get("SLURM_STEP_TASKS_PER_NODE", str(count)).partition("(")[0].partition(",")[0]
        return Launch("SLURM", _number("SLURM_PROCID"), count, int(here))
    return None


def is_main_process() -> bool:
    """Whether this process speaks for all that a launcher has started: it writes and reports."""
    launch = external_launch()
    return launch is None or launch.rank == 0


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdigit() else 0
