"""Fair timing: candidates take turns in one process, and are compared within each round."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from localrules.benchmark.candidates import Candidate
from localrules.engine.profiling import WARMUP, peak_memory


def time_interleaved(contenders: Sequence[Candidate], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each contender's step in each round, warm-up left out.

    The order within a round moves on by one each time, so that none always follows the same other.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(WARMUP + rounds):
        for place in range(len(contenders)):
            contender = contenders[(place + number) % len(contenders)]
            _wait(contender.device)
            began = time.perf_counter()
            contender.step(number)
            _wait(contender.device)
            seconds[contender.name].append(time.perf_counter() - began)
    return {name: np.asarray(times[WARMUP:]) for name, times in seconds.items()}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def step_memory(contender: Candidate) -> float:
    """The allocator's peak in one step above what was live at its start, in MiB; the second of two steps."""
    contender.step(0)
    _, peak = peak_memory(lambda: contender.step(1), contender.device)
    return peak
