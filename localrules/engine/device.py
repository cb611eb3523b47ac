"""Devices, precision and processes: the one file that knows of Lightning Fabric."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import sys
import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch

from localrules.config.schema import RunConfig
from localrules.engine.grid import Grid
from localrules.engine.ranks import Ranks, set_timeout
from localrules.errors import UsageError
from localrules.utils.launch_env import external_launch
from localrules.utils.precision import Precision

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from localrules.config.settings import Settings


JOIN_SECONDS = 60.0
"""The shortest time for which a process waits for the others to join; ``process_timeout`` may be shorter."""


class Device:
    """The device of a run, and its other processes.

    Args:
        config: ``device``, ``precision`` and ``devices`` of the run.
        join: Join the other processes of the run, which somebody has started and described in the environment as
            torchrun does. Otherwise this process has whole batches.

    Attributes:
        device: The torch device.
        grid: The processes of the run.

    Raises:
        UsageError: The device is not there.
    """

    def __init__(self, config: RunConfig, *, join: bool = False) -> None:
        joins = join and config.devices > 1
        fabric = None if is_cpu(config.device) and not joins else _fabric(config, joins)
        self.device = torch.device("cpu") if fabric is None else fabric.device
        world = Ranks(fabric.global_rank, fabric.world_size, self.device) if fabric and joins else Ranks()
        self.grid = Grid.form(world, config.stage_count if joins else 1, config.process_timeout)
        self._dtype = autocast_dtype(config.precision)

    def autocast(self) -> AbstractContextManager[Any]:
        """Autocast around a forward pass, if the run asked for it.

        Autocast's cache of cast weights is off: it would keep every layer's half-precision copy to the end of the pass.
        """
        return torch.autocast(self.device.type, self._dtype, enabled=self._dtype is not None, cache_enabled=False)

    def autocast_unscaled(self) -> AbstractContextManager[Any]:
        """As :meth:`autocast`, but none in fp16: of a loss that is not scaled, small gradients would be zero there."""
        return nullcontext() if self._dtype is torch.float16 else self.autocast()


def autocast_dtype(precision: Precision) -> torch.dtype | None:
    """The type of forward passes under autocast; ``None`` in fp32, without it."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)


def is_cpu(name: str) -> bool:
    """Whether a device of this name, which may be ``auto``, is a CPU."""
    return name == "cpu" or (name == "auto" and not torch.cuda.is_available())


def _fabric(config: RunConfig, joins: bool) -> Fabric:
    """Fabric on the device of a run. A CPU alone needs none, and its import takes as long as torch's."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    for name in ("lightning_fabric", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)  # it announces what the user typed
    kind, _, index = config.device.partition(":")
    accelerator = "cpu" if is_cpu(config.device) else kind
    try:
        if not joins:
            return Fabric(accelerator=accelerator, devices=[int(index)] if index else 1)
        launch = external_launch()
        assert launch is not None, "nobody has started the other processes"
        here = launch.local_count
        strategy = DDPStrategy(
            cluster_environment=SLURMEnvironment() if launch.launcher == "SLURM" else TorchElasticEnvironment(),
            process_group_backend="gloo" if accelerator == "cpu" else "cpu:gloo,cuda:nccl",
            timeout=timedelta(seconds=max(config.process_timeout, JOIN_SECONDS)),
        )
        nodes = config.devices // here
        fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=nodes, strategy=strategy)
    except Exception as error:
        raise UsageError(
            f"device {config.device!r} cannot be used here",
            where="--device",
            why=str(error).splitlines()[0],
            fix="choose --device cpu, or leave it out",
        ) from error
    fabric.launch()
    set_timeout(config.process_timeout)
    return fabric


def available_threads() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def default_threads(*divided_by: object) -> int:
    """The threads of a run that names none: the cores that this process may use, divided by these numbers."""
    numbers = [number for number in divided_by if isinstance(number, int) and number > 0]
    if len(numbers) < len(divided_by):
        return 1
    return max(1, available_threads() // math.prod(numbers))


def machine_defaults(given: Settings, workers: int = 1) -> dict[str, int]:
    """The settings of a run that depend on the machine and on who started this process, unless they are given.

    Args:
        given: What is given.
        workers: How many such runs share the machine.
    """
    launch = external_launch()
    devices = given.get("devices", default=1) if launch is None else launch.local_count
    threads = default_threads(given.get("parallel_layers", default=1), devices, workers)
    return {"threads": threads} if launch is None else {"threads": threads, "devices": launch.count}


def set_deterministic(threads: int, device: torch.device, *, tf32: bool = False) -> None:
    """Make torch give the same bits each time, for this number of threads, in TF32 only if that was asked for."""
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    # On a GPU some pooling has no deterministic backward pass; there, bits may differ from run to run.
    # torch.use_deterministic_algorithms would import torch's compiler, which takes as long as all the rest of torch.
    torch.set_deterministic_debug_mode("error" if device.type == "cpu" else "default")
    # Filling fresh memory guards against reading it unset, and costs a tenth of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


ARITHMETIC = ("avx512_bf16", "amx_bf16", "avx10_2", "avx_ne_convert", "bf16", "sve_bf16")
"""What torch calls instructions for bf16, of x86 and of ARM."""


def bf16_is_emulated(device: torch.device) -> bool:
    """Whether bf16 takes a detour through fp32 here: on a CPU without instructions for it.

    ``False`` as well where an older torch cannot tell.
    """
    known = _capabilities()
    return device.type == "cpu" and bool(known) and not any(known.get(name) for name in ARITHMETIC)


def warn_if_slower_than_asked(config: RunConfig, device: torch.device) -> None:
    """Say so if half precision was asked for and will take longer than fp32, or TF32 where there is none."""
    if config.tf32 and device.type != "cuda":
        warnings.warn(f"tf32 changes nothing on this device ({device.type}): only Nvidia's GPUs have it", stacklevel=2)
    if config.precision == "bf16" and bf16_is_emulated(device):
        warnings.warn(
            "this CPU has no arithmetic for bf16 and emulates it: a step can take three times as long as in fp32. "
            "--precision fp32 is faster here.",
            stacklevel=2,
        )
    if config.precision == "fp16" and device.type == "cpu":
        warnings.warn("fp16 is for GPUs without bf16, and slow on a CPU; --precision fp32 is faster here", stacklevel=2)


def _capabilities() -> Mapping[str, Any]:
    ask = getattr(torch.cpu, "get_capabilities", None)
    return ask() if ask is not None else {}


# Parameters of glibc's mallopt(3).
TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let the process keep what it frees, so that the next step finds it.

    glibc gives large blocks back to the system when they are freed. A step of training frees all its maps, the next one
    asks for as many, and the system has to find and clear each page anew: thousands of times a step. The process then
    stays as large as its peak.

    Nothing is changed where the user has: by ``GLIBC_TUNABLES`` or a ``MALLOC_...`` variable, even an empty one. Nor on
    systems without glibc.

    Returns:
        Whether it was changed.
    """
    chosen = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if chosen or not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(*setting) for setting in ((MMAP_MAX, 0), (TRIM_THRESHOLD, 2**31 - 1), (TOP_PAD, 2**26)))
