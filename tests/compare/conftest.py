"""A comparison that is done; and runs without images: drawing takes longer than a tiny run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.comparisons import compare


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a comparison that is done; tests only look at it."""
    out = tmp_path_factory.mktemp("comparisons") / "done"
    said = compare(out)
    assert said.code == 0, said.err + said.out
    (out.parent / "said.json").write_text(said.out)
    return out


@pytest.fixture
def copied(done: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(done, tmp_path / "copied"))
