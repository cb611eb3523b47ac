"""A limit on the size of new tensors: the memory that is free."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

_LOOKED_AT = 2**26  # bytes: smaller tensors are not looked at, to ask the system seldom


def machine_memory() -> int:
    """The bytes of memory that this process can have at most: the machine's, or its control group's."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")] if hasattr(os, "sysconf") else [2**63]
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            found.append(int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return min(found)


def free_memory() -> int:
    """The bytes of memory that this process can still take, as far as the system says; else those of the machine."""
    found = [machine_memory()]
    with suppress(OSError, KeyError):  # no such file; or an old kernel
        known = _numbers("/proc/meminfo")  # in KiB
        found.append(1024 * known["MemAvailable"])
    with suppress(OSError, KeyError, ValueError):  # no such group, or "max"
        group = Path("/sys/fs/cgroup")
        taken = int((group / "memory.current").read_text()) - _numbers(group / "memory.stat")["inactive_file"]
        found.append(max(0, int((group / "memory.max").read_text()) - taken))
    return min(found)


def _numbers(path: str | Path) -> dict[str, int]:
    """A file of lines with a name and a number."""
    lines = [line.replace(":", " ").split() for line in Path(path).read_text().splitlines()]
    return {name: int(number) for name, number, *_ in lines}


class AllocationLimit(TorchDispatchMode):
    """While active, a new tensor on the CPU for which there is not enough memory is an error.

    Linux hands out more memory than there is, and kills the process when it is written to. Many tensors that each fit
    are counted too, as what has been written to is no longer free.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if args and isinstance(args[0], list | tuple) and all(isinstance(size, int) for size in args[0]):
            dtype, device = kwargs.get("dtype") or torch.get_default_dtype(), kwargs.get("device")
            asked = math.prod(args[0]) * dtype.itemsize
            if asked > _LOOKED_AT and (device is None or torch.device(device).type == "cpu"):
                free = free_memory()
                if asked > free:
                    raise MemoryError(f"Unable to allocate {asked / 2**30:.2f} GiB where {free / 2**30:.2f} are free")
        return func(*args, **kwargs)
