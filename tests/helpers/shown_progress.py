"""The work and the amounts that a display of progress is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from localrules.utils.progress import show_progress


@contextmanager
def shown_progress() -> Iterator[list[object]]:
    """A context whose value holds, for each piece of work, its text and total, then how much was done each time."""
    told: list[object] = []

    @contextmanager
    def display(text: str, total: int) -> Iterator[Callable[[int], None]]:
        told.append((text, total))
        yield told.append

    with show_progress(display):
        yield told
