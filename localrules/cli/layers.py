"""The layer table on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from localrules.utils.formatting import duration, memory, step_time

if TYPE_CHECKING:
    from rich.console import Console


def print_dry_run(console: Console, found: dict[str, Any]) -> None:
    """Print what ``run --dry-run`` found out."""
    console.print(
        layer_table(found["layers"], f"{found['model']} by {found['rule']}, granularity {found['granularity']}")
    )
    console.print(
        f"\n{found['data']}: {found['origin']}\n"
        f"{found['steps']:,} steps of {found['batch_size']} samples, {found['steps_per_epoch']:,} an epoch; "
        f"{step_time(found['step_seconds'])} and {memory(found['peak_memory_mib'])} a step, "
        f"about {duration(found['seconds'])} in all.\nNothing was written.",
        markup=False,
        soft_wrap=True,
    )


def layer_table(rows: list[dict[str, Any]], title: str) -> Table:
    """A table of layers, with sums."""
    table = Table(
        title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), show_footer=True
    )
    table.add_column("layer", style="cyan", no_wrap=True, footer=f"{len(rows)} layers")
    table.add_column("reads", justify="right")
    table.add_column("in", justify="right", no_wrap=True)
    table.add_column("out", justify="right", no_wrap=True)
    table.add_column("parameters", justify="right", footer=f"{sum(row['parameters'] for row in rows):,}")
    table.add_column("MACs", justify="right", no_wrap=True, footer=_millions(sum(row["macs"] for row in rows)))
    table.add_column("rule", footer="")
    for row in rows:
        table.add_row(
            escape(row["name"]),
            _reads(row["inputs"]),
            _shape(row["in_shape"]),
            _shape(row["out_shape"]),
            f"{row['parameters']:,}",
            _millions(row["macs"]),
            escape(row["rule"]),
        )
    return table


def _reads(names: list[str]) -> str:
    return str(len(names)) if names else "input"


def _shape(shape: list[int]) -> str:
    return "x".join(str(side) for side in shape)


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M"
