"""A Rich console whose reader may leave."""

from __future__ import annotations

from rich.console import Console


class DetachableConsole(Console):
    """Falls silent when the pipe that it writes to is closed. Rich's own console ends the process then."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
