"""Progress of work that takes more than a few seconds, such as the decoding of a large data set, on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from localrules.utils.progress import Advance, Work

if TYPE_CHECKING:
    from rich.console import Console

FIRST_SECONDS = 2.0  # until work is shown that takes longer
LINE_SECONDS = 30.0  # between two lines


@contextmanager
def show_work(
    text: str, total: int, console: Console | None = None, clock: Callable[[], float] = time.monotonic
) -> Iterator[Advance]:
    """Show progress: a bar on a terminal, lines elsewhere.

    Args:
        text: What is done.
        total: How many items there are.
        console: Where to show it; standard error by default.
        clock: Seconds on a clock that never goes back.
    """
    display = _Display(Work(text, total, clock), console)
    try:
        yield display.advance
    finally:
        display.close()


class _Display:
    """Creates nothing before it has something to show, so that short work does not import rich."""

    def __init__(self, work: Work, console: Console | None) -> None:
        self._work, self._console = work, console
        self._next = FIRST_SECONDS
        self._close: Callable[[], None] | None = None
        self._draw: Callable[[], None] | None = None

    def advance(self, done: int) -> None:
        self._work.done += done
        if self._draw is None and self._work.seconds >= FIRST_SECONDS and self._work.takes_long:
            self._draw = self._open()
        if self._draw is not None:
            self._draw()

    def close(self) -> None:
        if self._close is not None:
            self._close()

    def _open(self) -> Callable[[], None]:
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        from localrules.utils.console import DetachableConsole

        console = self._console or DetachableConsole(stderr=True)
        if not console.is_terminal:
            return lambda: self._line(console)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        bar = Progress(*columns, console=console, transient=True)
        task = bar.add_task(escape(self._work.text), total=self._work.total)
        bar.start()
        self._close = bar.stop
        return lambda: bar.update(task, completed=self._work.done)

    def _line(self, console: Console) -> None:
        if self._work.seconds >= self._next and self._work.takes_long:
            self._next = self._work.seconds + LINE_SECONDS
            console.print(self._work.line(), markup=False, soft_wrap=True)
