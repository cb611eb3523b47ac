"""The versions, machine and plugins that a bug report needs."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

from localrules.engine.device import available_threads
from localrules.engine.environment import package_version, processor_name
from localrules.registry.registry import Registry
from localrules.utils.allocation_limit import machine_memory

PACKAGES = (
    *("localrules", "torch", "torchvision", "numpy", "pandas", "pydantic", "safetensors", "lightning-fabric", "pluggy"),
    *("typer", "rich", "pillow", "wandb", "tensorboard", "scikit-learn"),
)
VARIABLES = (
    *("CUDA_VISIBLE_DEVICES", "LOCALRULES_PLUGINS", "LOCALRULES_TRACE_PLUGINS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    *("ONEDNN_MAX_CPU_ISA", "PYTHONIOENCODING", "WANDB_MODE"),
)
"""Environment variables that change what localrules does and hold no secret."""


def system_info(registry: Registry) -> dict[str, Any]:
    """Versions, machine, devices, environment variables and plugins; no secrets, user names or paths.

    Args:
        registry: The plugins.
    """
    return {
        "packages": {name: package_version(name) for name in PACKAGES} | {"torch": torch.__version__},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": available_threads(),
        "memory_gib": round(machine_memory() / 2**30, 1),
        "devices": _devices(),
        "encoding": sys.stdout.encoding,
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "plugins": [
            {
                "name": Path(item.entry.name).name,  # of a plugin file, whose folder may say who the user is
                "distribution": Path(item.distribution).name,
                "version": item.version,
                "status": item.status,
            }
            for item in registry.plugins()
        ],
    }


def _devices() -> list[str]:
    found = ["cpu"]
    if torch.cuda.is_available():
        found += [
            f"cuda:{index} {torch.cuda.get_device_name(index)}, "
            f"{torch.cuda.get_device_properties(index).total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
            for index in range(torch.cuda.device_count())
        ]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found
