"""Time and memory of training steps."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from statistics import median
from typing import Any, TypeVar

import torch

T = TypeVar("T")

MIB = 2**20
WARMUP = 5  # steps that are slower than the rest: allocator, caches, profiler


class StepTimer:
    """Remembers how long steps took.

    ``step_seconds`` is the median over all steps but the first five, if there are more.

    Args:
        times: Seconds of the steps before, of a run that is resumed.
    """

    def __init__(self, times: Iterable[float] = ()) -> None:
        self.times = list(times)

    def add(self, seconds: float) -> None:
        """One more step."""
        self.times.append(seconds)

    @property
    def step_seconds(self) -> float | None:
        """The median step, or ``None`` before the first."""
        settled = self.times[WARMUP:] or self.times
        return median(settled) if settled else None

    @property
    def recent(self) -> float | None:
        """The median of the last twenty steps, for display."""
        return median(self.times[-20:]) if self.times else None


def peak_memory(work: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """Run ``work`` and measure the allocator's peak above what was live before, in MiB.

    On a CPU every allocation is recorded by the profiler, which slows the work: do not time it.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        result = work()
        torch.cuda.synchronize(device)
        return result, (torch.cuda.max_memory_allocated(device) - before) / MIB
    with profiler(device, profile_memory=True) as profile:
        result = work()
    live = peak = 0
    events = profile.profiler.kineto_results.events()
    changes = sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]")
    for _, change in changes:
        live += change
        peak = max(peak, live)
    return result, peak / MIB


def profiler(device: torch.device, **options: Any) -> torch.profiler.profile:
    """Torch's profiler of what this process and the device do."""
    # The profiler's library reports the GPUs that it does not find; nobody asked.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    kinds = torch.profiler.ProfilerActivity
    return torch.profiler.profile(activities=[kinds.CPU, *([kinds.CUDA] if device.type == "cuda" else [])], **options)


def process_peak_mib() -> float:
    """The most memory this process has held so far, in MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MIB if sys.platform == "darwin" else peak / 1024
