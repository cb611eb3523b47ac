"""The checkout, as the project's rules see it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def sources() -> dict[str, str]:
    """Every module of the engine and the plugins: its text by its path from the checkout."""
    modules = [*(ROOT / "localrules").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]
    return {str(module.relative_to(ROOT)): module.read_text() for module in sorted(modules)}


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that git knows, or is about to."""
    line = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        found = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in found.split("\0") if name and (ROOT / name).is_file()]
