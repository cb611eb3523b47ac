"""Rich consoles for text of ours and of plugins."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment
from rich.text import Text

from localrules.utils.text import without_escape_codes

NARROWEST = 72  # columns


class PlainConsole(Console):
    """Takes escape codes out of what is printed: names and messages of plugins, file names."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False)
        self.push_render_hook(_StripEscapeCodes())


class TableConsole(PlainConsole):
    """Prints tables whole: a terminal that is narrower than ``NARROWEST`` wraps their lines, and nothing is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.width = max(self.width, NARROWEST)


class DetachableConsole(PlainConsole):
    """Falls silent when what it writes to is closed or full. Rich's own console ends the process then."""

    def on_broken_pipe(self) -> None:
        self.quiet = True


class _StripEscapeCodes(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Plain(renderable) for renderable in renderables]


class _Plain:
    def __init__(self, renderable: ConsoleRenderable) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        for text, style, control in console.render(self._renderable, options):
            yield Segment(text if control else without_escape_codes(text), style, control)


def print_command(console: Console, why: str, command: str) -> None:
    """Print what a user may do next; the command is never wrapped, so that it can be copied."""
    console.print(Text.assemble((f"  {why}:\n", "dim"), f"    {command}"), soft_wrap=True)
