"""What equal bits ask of a process."""

from __future__ import annotations

import os

import torch


def available_threads() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def be_deterministic(threads: int, device: torch.device) -> None:
    """Make torch give the same bits each time, for this number of threads."""
    torch.set_num_threads(threads)
    # On a GPU some pooling has no deterministic backward pass; there, bits may differ from run to run.
    torch.use_deterministic_algorithms(device.type == "cpu")
    # Filling fresh memory guards against reading it unset, and costs a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
