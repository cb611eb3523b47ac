"""A warning says that fp32 is faster if bf16 is asked for on a CPU that emulates it, and only then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny_runs import train

from localrules.benchmark.suite import bench
from localrules.engine.device import bf16_is_emulated
from localrules.registry.registry import Registry

CPU = torch.device("cpu")
WITHOUT = {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}
Has = Callable[[dict[str, Any]], None]


@pytest.fixture
def this_cpu_has(monkeypatch: pytest.MonkeyPatch) -> Has:
    return lambda found: monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)


@pytest.mark.parametrize(
    ("found", "emulated"),
    [
        (WITHOUT, True),
        (WITHOUT | {"avx512_bf16": True}, False),
        (WITHOUT | {"amx_bf16": True}, False),
        ({"architecture": "aarch64", "neon": True, "bf16": False}, True),
        ({"architecture": "aarch64", "neon": True, "bf16": True}, False),
        ({}, False),  # an older torch, which cannot tell
    ],
    ids=str,
)
def test_a_cpu_emulates_bf16_that_has_no_instructions_for_it(
    this_cpu_has: Has, found: dict[str, Any], emulated: bool
) -> None:
    this_cpu_has(found)
    assert bf16_is_emulated(CPU) is emulated
    assert not bf16_is_emulated(torch.device("cuda"))


def test_torch_is_asked_for_what_it_calls_them() -> None:
    """Names that torch does not use would make every CPU one without."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else None
    if known is None:
        pytest.skip("this torch cannot tell")
    assert {"avx512_bf16", "amx_bf16"} <= known.keys() or "bf16" in known


def test_a_run_says_so(tmp_path: Path, this_cpu_has: Has) -> None:
    this_cpu_has(WITHOUT)
    with pytest.warns(UserWarning, match="--precision fp32 is faster here"):
        train(tmp_path, "--rule", "backprop", "--precision", "bf16")


def test_a_benchmark_says_so(this_cpu_has: Has) -> None:
    this_cpu_has(WITHOUT)
    small = {"model": {"name": "mlp", "hidden": [8]}, "batch_size": 16, "precision": "bf16"}
    with pytest.warns(UserWarning, match="--precision fp32 is faster here"):
        bench([], small, Registry.load(), rounds=1, side=8)


@pytest.mark.filterwarnings("error")
def test_a_run_in_fp32_says_nothing(tmp_path: Path, this_cpu_has: Has) -> None:
    this_cpu_has(WITHOUT)
    train(tmp_path, "--rule", "backprop")  # a warning would be an error
