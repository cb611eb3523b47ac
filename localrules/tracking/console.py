"""Progress on the screen: drawn live on a terminal, in lines elsewhere. Always stderr: stdout belongs to ``--json``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live

from localrules.callbacks.base import Callback, MetricsRow, Plot, RunInfo
from localrules.tracking import log_lines as plain
from localrules.tracking.live_display import render
from localrules.tracking.progress import Progress
from localrules.tracking.summary_panel import print_summary
from localrules.utils.console import DetachableConsole
from localrules.utils.progress import Advance, Work, show_progress

_REDRAW_SECONDS = 0.12
_LINE_SECONDS = 5.0
_PACE_STEPS = 10


class ConsoleProgress(Callback):
    """Shows a run while it goes on, and what it came to.

    Args:
        console: Where to show it; stderr by default.
        clock: Seconds on a clock that never goes back.
    """

    may_fail = True  # a terminal that has gone ends no training

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or DetachableConsole(stderr=True)
        self._clock = clock
        self._live: Live | None = None
        self._shown = -1e9
        self._pace_said = False
        self._meanwhile = ExitStack()

    def on_run_start(self, run: RunInfo) -> None:
        self._progress = Progress(run, self._clock)
        self._meanwhile.enter_context(show_progress(self._show_work))
        # What the live display draws is beyond a terminal that is not UTF-8.
        if self._console.is_terminal and not self._console.is_dumb_terminal and self._console.encoding == "utf-8":
            # Drawn by us when a row comes: a thread that draws would take time from the steps it reports.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
            self._draw()
        else:
            self._print(plain.first_line(self._progress))

    def on_log(self, row: MetricsRow) -> None:
        self._progress.add(row)
        if self._live:
            if self._clock() - self._shown >= _REDRAW_SECONDS:
                self._draw()
            return
        if not self._pace_said and self._progress.step - self._progress.run.resumed_from_step >= _PACE_STEPS:
            self._pace_said = True
            self._print(plain.pace_line(self._progress))
        closes_epoch = "valid_accuracy" in row  # and is shown there
        if self._clock() - self._shown >= _LINE_SECONDS and not closes_epoch:
            self._print(plain.progress_line(self._progress))

    def on_evaluate(self, row: MetricsRow) -> None:
        if self._live:
            self._print(plain.epoch_line(self._progress))
            self._draw()
            return
        self._print(plain.progress_line(self._progress))
        if objectives := plain.objectives_line(self._progress):
            self._print(objectives)

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        self.close()
        print_summary(self._console, self._progress.run, summary, plots)

    def close(self) -> None:
        self._meanwhile.close()
        if self._live:
            self._live.stop()
            self._live = None

    @contextmanager
    def _show_work(self, text: str, total: int) -> Iterator[Advance]:
        """Show work between steps, such as an evaluation, where it takes longer than they do."""
        work = self._progress.work = Work(text, total, self._clock)

        def advance(done: int) -> None:
            work.done += done
            if self._live:
                if self._clock() - self._shown >= _REDRAW_SECONDS:
                    self._draw()
            elif self._clock() - self._shown >= _LINE_SECONDS and work.takes_long:
                self._print(work.line())

        try:
            yield advance
        finally:
            self._progress.work = None

    def _draw(self) -> None:
        assert self._live is not None
        self._shown = self._clock()
        self._live.update(render(self._progress, self._console.width, self._console.height), refresh=True)

    def _print(self, line: str) -> None:
        self._shown = self._clock()
        self._console.print(line, markup=False, soft_wrap=True)


class SeriesProgress(ConsoleProgress):
    """Progress of one run among several, without the summary that closes a run."""

    def on_run_end(self, summary: Mapping[str, Any], plots: list[Plot]) -> None:
        self.close()
