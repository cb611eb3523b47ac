"""Live progress in the terminal: a bar, the metrics, the objective of every layer with its trend."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from localrules.tracking.progress import TREND_WIDTH, Progress
from localrules.utils.formatting import duration, format_metric, memory, percent, step_time

_NAME_WIDTH = 16
_METRIC_WIDTH = 8
_FRAME = 4  # the panel's border and padding
_ECHO = 4  # columns left free: a terminal that echoes ^C into the last one wraps, and the next erasure misses a line
_LINES_ABOVE = 8  # all but the objectives: border, bar, metrics, headings, the cursor's line


def render(progress: Progress, width: int, height: int) -> RenderableType:
    """Draw a run's progress.

    Args:
        progress: What is known.
        width: Columns of the terminal.
        height: Rows of the terminal; objectives that do not fit are counted instead of shown.
    """
    run, width = progress.run, width - _ECHO
    title = Text.assemble((run.rule, "bold cyan"), " trains ", (run.model, "bold"), " on ", (run.data, "bold"))
    parts: list[RenderableType] = [_bar(progress), _metrics(progress)]
    # A global rule reports no objectives, as the first row shows.
    if progress.objectives and (progress.learning or progress.step == run.resumed_from_step):
        parts += [Text(), _objectives(progress, width - _FRAME, height - _LINES_ABOVE)]
    below = f"phase {progress.phase}" if progress.phase not in ("", "joint") else ""
    if progress.work is not None:
        below = progress.work.line()
    return Panel(
        Group(*parts),
        title=title,
        title_align="left",
        subtitle=Text(below) if below else None,
        box=box.ROUNDED,
        border_style="dim",
        width=width,
    )


def _bar(progress: Progress) -> Table:
    total = progress.run.total_steps
    row = Table.grid(padding=(0, 2), expand=True)
    row.add_column(ratio=1)
    row.add_column(justify="right", no_wrap=True)
    row.add_row(
        ProgressBar(total=total, completed=progress.step, complete_style="cyan", finished_style="cyan"),
        Text.assemble((f"{progress.step:,}", "bold"), f" of {total:,} steps"),
    )
    return row


def _metrics(progress: Progress) -> Table:
    number, left = progress.number, progress.eta
    texts = {
        "epoch": f"{progress.epochs:.2f}/{progress.total_epochs:.3g}",
        "loss": _format(number("loss"), format_metric),
        "accuracy": _format(number("accuracy"), "{:.3f}".format),
        "valid": _format(number("valid_accuracy"), "{:.3f}".format),
        "left": duration(left) if left is not None else "...",
        "step": _format(number("step_seconds"), step_time),
        "samples/s": _format(number("samples_per_second"), "{:.0f}".format),
        "memory": _format(number("memory_mib"), memory),
    }
    table = Table.grid(padding=(0, 1), expand=True)
    for _ in range(4):
        table.add_column(style="dim", no_wrap=True)
        table.add_column(style="bold", no_wrap=True, ratio=1)
    cells = [cell for pair in texts.items() for cell in pair]
    table.add_row(*cells[:8])
    table.add_row(*cells[8:])
    if busy := progress.busy:
        table.add_row("busy", " ".join(map(percent, busy)))
    return table


def _objectives(progress: Progress, width: int, height: int) -> Table:
    layers = list(progress.objectives)
    name_width = min(_NAME_WIDTH, max(len(layer) for layer in layers))
    cell = name_width + TREND_WIDTH + _METRIC_WIDTH + 2
    columns = max(1, min((width + 3) // (cell + 3), len(layers)))
    rows = -(-len(layers) // columns)
    shown = max(1, min(rows, height))
    table = Table.grid(padding=(0, 3), expand=False)
    for _ in range(columns):
        table.add_column(no_wrap=True, width=cell)
    for row in range(shown):
        # Down each column first, so that neighbours in depth stand below each other.
        table.add_row(*(_objective(progress, layer, name_width) for layer in layers[row::rows]))
    if shown < rows:
        hidden = sum(len(layers[row::rows]) for row in range(shown, rows))
        table.add_row(Text(f"and {hidden} more in metrics.csv", style="dim"))
    return table


def _objective(progress: Progress, layer: str, name_width: int) -> Text:
    trend = progress.objectives[layer]
    asleep = "" if layer in progress.learning else "dim"
    name = layer if len(layer) <= name_width else layer[: name_width // 2] + "…" + layer[-(name_width // 2 - 1) :]
    return Text.assemble(
        (f"{name:<{name_width}} ", asleep or "default"),
        (f"{trend.bars():<{TREND_WIDTH}} ", asleep or "cyan"),
        (f"{_format(trend.last, format_metric):>{_METRIC_WIDTH}}", asleep or "bold"),
    )


def _format(value: float | None, form: object) -> str:
    return "..." if value is None else str(form(value))  # type: ignore[operator]
