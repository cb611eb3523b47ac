"""A fixture for tests of data sets: they never touch the user's cache, nor find the user's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, an empty home and an empty working directory for each test."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("LOCALRULES_CACHE", str(folder))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))
    for name in [name for name in os.environ if name.startswith("LOCALRULES_") and name != "LOCALRULES_CACHE"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path_factory.mktemp("work"))
    return folder
