"""A limit on the size of new tensors: the memory of the machine."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


def machine_memory() -> int:
    """The bytes of memory that this process can have at most: the machine's, or its control group's."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [2**63]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(found)


class AllocationLimit(TorchDispatchMode):
    """While active, a new tensor on the CPU that is larger than the machine's memory is an error.

    Linux hands out more memory than there is, and kills the process when it is written to.
    """

    def __init__(self) -> None:
        super().__init__()
        self._most = machine_memory()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], list | tuple) and all(isinstance(size, int) for size in args[0]):
            dtype, device = kwargs.get("dtype") or torch.get_default_dtype(), kwargs.get("device")
            asked = math.prod(args[0]) * dtype.itemsize
            if asked > self._most and (device is None or torch.device(device).type == "cpu"):
                raise MemoryError(f"Unable to allocate {asked / 2**30:.1f} GiB")
        return func(*args, **kwargs)
