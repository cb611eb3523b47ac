"""Progress of long work, such as decoding or predicting many images, for whoever shows it: this prints nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from contextvars import ContextVar

from localrules.utils.formatting import duration

Advance = Callable[[int], None]
Display = Callable[[str, int], AbstractContextManager[Advance]]

SOON = 3.0
"""Seconds: work that ends in less is not announced."""

_display: ContextVar[Display | None] = ContextVar("display of progress", default=None)


@contextmanager
def progress(text: str, total: int) -> Iterator[Advance]:
    """A piece of work of known size; the value of the context is called with how much of it has been done since.

    A display that fails, since its terminal has gone or a disk is full, ends no work: it is left out from there on.

    Args:
        text: What is done, such as ``"decoding images.zip"``.
        total: How many items there are.
    """
    display, shown = _display.get(), ExitStack()
    advances: list[Advance] = []
    if display is not None:
        with suppress(Exception):
            advances.append(shown.enter_context(display(text, total)))

    def advance(done: int) -> None:
        try:
            for each in advances:
                each(done)
        except Exception:  # of a stream or of rich
            advances.clear()

    try:
        yield advance
    finally:
        with suppress(Exception):
            shown.close()


@contextmanager
def show_progress(display: Display) -> Iterator[None]:
    """Show all progress meanwhile by a function that takes a text and a total, as :func:`progress` does."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)


class Work:
    """A piece of work as displays show it.

    Args:
        text: What is done.
        total: How many items there are.
        clock: Seconds on a clock that never goes back.
    """

    def __init__(self, text: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.text, self.total, self.done = text, total, 0
        self._clock, self._began = clock, clock()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self._clock() - self._began

    @property
    def left(self) -> float | None:
        """Seconds to its end at the pace so far; ``None`` before anything is done."""
        return self.seconds / self.done * (self.total - self.done) if self.done else None

    @property
    def takes_long(self) -> bool:
        """Whether its end is so far off that it is worth a line."""
        return self.left is not None and self.left >= SOON

    def line(self) -> str:
        """The work, its progress, and an estimate of the time left."""
        left = self.left
        return f"{self.text}: {self.done:,} of {self.total:,}" + (f", about {duration(left)} left" if left else "")
