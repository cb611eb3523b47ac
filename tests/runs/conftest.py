"""Runs without pictures: drawing takes longer than a tiny run."""

from __future__ import annotations

import pytest

from localrules import closing


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that looks at pictures: draw them after all."""
    monkeypatch.setattr(closing, "draw", _DRAW)


_DRAW = closing.draw


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "draw", lambda session, folder: [])
