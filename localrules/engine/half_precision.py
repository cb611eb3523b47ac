"""Whether bf16 is worth asking for on this machine."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch

from localrules.engine.config import RunConfig

ARITHMETIC = ("avx512_bf16", "amx_bf16", "avx10_2", "avx_ne_convert", "bf16", "sve_bf16")
"""What torch calls instructions for bf16, of x86 and of ARM."""


def is_emulated(device: torch.device) -> bool:
    """Whether bf16 takes a detour through fp32 here: on a CPU without instructions for it.

    ``False`` as well where an older torch cannot tell.
    """
    known = _capabilities()
    return device.type == "cpu" and bool(known) and not any(known.get(name) for name in ARITHMETIC)


def warn_of_emulation(config: RunConfig, device: torch.device) -> None:
    """Say so if bf16 was asked for and will take longer than fp32."""
    if config.precision == "bf16" and is_emulated(device):
        warnings.warn(
            "this CPU has no arithmetic for bf16 and emulates it: a step can take three times as long as in fp32. "
            "--precision fp32 is faster here.",
            stacklevel=2,
        )


def _capabilities() -> Mapping[str, Any]:
    ask = getattr(torch.cpu, "get_capabilities", None)
    return ask() if ask is not None else {}
