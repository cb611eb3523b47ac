"""Runs without pictures: drawing takes longer than a tiny run."""

from __future__ import annotations

import pytest

from localrules.runs import summary as closing


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test that looks at pictures: draw them after all."""
    monkeypatch.setattr(closing, "save_plots", _DRAW)


_DRAW = closing.save_plots


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closing, "save_plots", lambda session, folder: [])
