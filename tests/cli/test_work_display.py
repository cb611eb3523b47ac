"""Progress of long work outside of training: a bar on a terminal, lines elsewhere, nothing of what is soon done."""

from __future__ import annotations

import io

import pytest
from helpers.clock import Clock
from rich.console import Console

from localrules.cli.work_display import show_work


def shown(seconds_per_item: float, *, terminal: bool = False, total: int = 100) -> str:
    screen, clock = io.StringIO(), Clock()
    console = Console(file=screen, width=80, force_terminal=terminal, color_system=None)
    with show_work("decoding images.zip", total, console, clock) as advance:
        for _ in range(total):
            clock.now += seconds_per_item
            advance(1)
    return screen.getvalue()


@pytest.mark.parametrize("seconds", [0.01, 0.04])
@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_is_said_of_work_that_is_soon_done(seconds: float, terminal: bool) -> None:
    assert shown(seconds, terminal=terminal) == ""


def test_lines_say_how_far_it_is_every_half_minute() -> None:
    assert shown(0.5).splitlines() == [
        "decoding images.zip: 4 of 100, about 48 s left",
        "decoding images.zip: 64 of 100, about 18 s left",
    ]


def test_a_terminal_shows_a_bar() -> None:
    assert "decoding images.zip" in shown(0.5, terminal=True)
    assert "\x1b" in shown(0.5, terminal=True)
