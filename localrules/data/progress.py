"""Progress of reading data, for whoever shows it: this package prints nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

Advance = Callable[[int], None]
Display = Callable[[str, int], AbstractContextManager[Advance]]

_display: ContextVar[Display | None] = ContextVar("display of progress", default=None)


def progress(text: str, total: int) -> AbstractContextManager[Advance]:
    """A piece of work of known size; the value of the context is called with how much of it has been done since.

    Args:
        text: What is done, such as ``"decoding images.zip"``.
        total: How many items there are.
    """
    display = _display.get()
    return nullcontext(lambda done: None) if display is None else display(text, total)


@contextmanager
def show_progress(display: Display) -> Iterator[None]:
    """Show all progress meanwhile by a function that takes a text and a total, as :func:`progress` does."""
    token = _display.set(display)
    try:
        yield
    finally:
        _display.reset(token)
