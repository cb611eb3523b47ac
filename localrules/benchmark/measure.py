"""Fair timing: candidates take turns in one process, and are compared within each round."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from localrules.benchmark.candidates import Candidate
from localrules.engine.profiling import WARMUP, peak_memory


def time_interleaved(candidates: Sequence[Candidate], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each candidate's step in each round, warm-up left out.

    The order within a round moves on by one each time, so that none always follows the same other.
    """
    seconds: dict[str, list[float]] = {candidate.name: [] for candidate in candidates}
    for number in range(WARMUP + rounds):
        for place in range(len(candidates)):
            candidate = candidates[(place + number) % len(candidates)]
            _wait(candidate.device)
            began = time.perf_counter()
            candidate.step(number)
            _wait(candidate.device)
            seconds[candidate.name].append(time.perf_counter() - began)
    return {name: np.asarray(times[WARMUP:]) for name, times in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_memory(candidate: Candidate) -> float:
    """The allocator's peak in one step above what was live at its start, in MiB; the second of two steps."""
    candidate.step(0)
    _, peak = peak_memory(lambda: candidate.step(1), candidate.device)
    return peak
