"""A bar for the decoding of large data sets, which may take minutes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEAST_ITEMS = 1000  # fewer are done before anybody wonders


@contextmanager
def show_decoding(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show progress on standard error: a bar on a terminal, elsewhere a line."""
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from localrules.cli.output import status
    from localrules.utils.console import DetachableConsole

    console = DetachableConsole(stderr=True)
    if total < LEAST_ITEMS:
        yield lambda done: None
    elif not console.is_terminal:
        status(f"{text} (once; then they come from the cache)")
        yield lambda done: None
    else:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(escape(text), total=total)
            yield lambda done: bar.advance(task, done)
