"""The environment of a run: versions, machine, plugins, git."""

from __future__ import annotations

import hashlib
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from localrules.config.schema import RunConfig
from localrules.utils.text import printable

if TYPE_CHECKING:
    from localrules.registry.registry import Registry

# Without running what a foreign repository configures, and without writing to it.
_SAFELY = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "--no-optional-locks")
REPRODUCIBILITY_KEYS = ("localrules", "torch", "numpy", "machine", "processor", "instructions", "device", "supplied_by")
"""Two runs have equal bits where these are equal, beside configuration, threads and data."""


def environment(config: RunConfig, registry: Registry, device: torch.device) -> dict[str, Any]:
    """Versions, machine, plugins and git state, as ``config.toml`` keeps them."""
    return {
        "localrules": package_version("localrules"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": package_version("numpy"),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "device": device.type,
        "supplied_by": providers(config, registry),
        "command": printable(shlex.join(sys.argv)),
        "plugins": [
            f"{_supplier(plugin.distribution, plugin.version)}: {printable(plugin.entry.name)}"
            if plugin.version
            else _supplier(plugin.distribution, plugin.version)
            for plugin in registry.plugins()
        ],
        "git": _git(),
    }


def providers(config: RunConfig, registry: Registry) -> dict[str, str]:
    """The distributions of what decides bits: the rule (of a mixture: its parts), the model and the data set."""
    rules = dict.fromkeys(_provider(registry, "rule", part.name) for _, part in config.rule.parts)
    return {
        "rule": ", ".join(rules),
        "model": _provider(registry, "model", config.model.name),
        "data": _provider(registry, "data", config.data.name),
    }


def _provider(registry: Registry, kind: str, name: str) -> str:
    """The supplier of a rule, model or data set."""
    item = registry.find(kind, name)
    return _supplier(item.distribution, item.version)


def _supplier(distribution: str, version: str) -> str:
    """A distribution and its version; of a plugin file, which has none, its name and a hash of its content."""
    if version:
        return f"{distribution} {version}"
    file = Path(distribution)
    if not file.is_file():  # a plugin that there is not, or a file that was removed since
        return printable(file.name)
    return f"{printable(file.name)} {hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"


def package_version(distribution: str) -> str:
    """The version of an installed distribution."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "not installed"


def processor_name() -> str:
    """The processor, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _git() -> dict[str, Any]:
    """The commit of the repository that the user stands in, and whether it has changes; empty outside of one."""
    try:
        commit = _ask_git("rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_ask_git("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return {}


def _ask_git(*words: str) -> str:
    asked = subprocess.run(["git", *_SAFELY, *words], capture_output=True, text=True, timeout=10, check=True)
    return asked.stdout.strip()
