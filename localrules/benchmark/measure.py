"""Fair timing: candidates take turns in one process, and are compared within each round."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from localrules.benchmark.candidates import Candidate
from localrules.engine.profiling import WARMUP, peak_memory, profiler


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


@dataclass(frozen=True)
class Work:
    """The arithmetic and the memory traffic of a step, whatever time they take.

    Attributes:
        macs: Of convolutions and products of matrices.
        bytes: Read and written by all operations, each tensor whole; views move nothing.
    """

    macs: int
    bytes: int


def step_work(candidate: Candidate) -> Work:
    """The work of a candidate's second step."""
    candidate.step(0)
    with FlopCounterMode(display=False) as counter, Traffic() as traffic:
        candidate.step(1)
    return Work(counter.get_total_flops() // 2, traffic.bytes)


def device_fraction(candidate: Candidate) -> float:
    """The fraction of a step's time in which the device computes, by torch's profiler, which slows the rest down.

    On a GPU that is the time with a kernel at work; on a CPU the time inside torch's operations, and the rest is
    Python's.
    """
    candidate.step(0)
    _wait(candidate.device)
    with profiler(candidate.device) as profile:
        began = time.perf_counter_ns()
        candidate.step(1)
        _wait(candidate.device)
        whole = time.perf_counter_ns() - began
    on_gpu = candidate.device.type == "cuda"
    busy = [
        (event.start_ns(), event.end_ns())
        for event in profile.profiler.kineto_results.events()
        if (event.device_type() == DeviceType.CUDA if on_gpu else event.name().startswith("aten::"))
    ]
    return min(1.0, _covered(busy) / whole)


def _covered(spans: Iterable[tuple[int, int]]) -> int:
    """The length of what spans cover together."""
    total, reached = 0, 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return total


class Traffic(TorchDispatchMode):
    """Counts operations, and the bytes that they read and write; views do neither.

    Attributes:
        bytes: Read and written, each tensor whole.
        operations: How many.
    """

    bytes = 0
    operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs, found)) if isinstance(leaf, Tensor)]
            self.bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            self.operations += 1
        return found
