"""Steps find the memory that earlier steps freed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

# Takes and frees 64 MiB, and tells how many pages the system had to find for five times that
# once the heap has settled.
FAULTS = """
import resource, torch
from localrules.engine.device import keep_freed_memory
changed = keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    torch.ones(2**24)
for _ in range(20):
    step()
before = faults()
for _ in range(5):
    step()
print(changed, faults() - before)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that is asked")


def run(**variables: str) -> tuple[bool, int]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("MALLOC_") and name != "GLIBC_TUNABLES"
    }
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], env=kept | variables, capture_output=True, text=True, check=True
    )
    changed, faults = done.stdout.split()
    return changed == "True", int(faults)


@pytest.mark.slow
def test_pages_are_found_once() -> None:
    changed, faults = run()
    assert changed
    assert faults < 1000  # 64 MiB are 16,384 pages


@pytest.mark.slow
def test_what_the_user_has_set_stays() -> None:
    changed, faults = run(GLIBC_TUNABLES="glibc.malloc.mmap_threshold=131072")
    assert not changed
    # A huge page takes the place of 512 pages.
    if not Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().startswith("[always]"):
        assert faults > 5 * 10_000
