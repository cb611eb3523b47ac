"""A scored split, as people read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from localrules.cli.output import get_console
from localrules.utils.formatting import percent

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from localrules.registry.entries import MetricEntry
    from localrules.registry.registry import Registry
    from localrules.runs.load import TrainedRun


def print_scores(run: TrainedRun, found: dict[str, Any], registry: Registry) -> None:
    """Print what :func:`~localrules.runs.evaluate.evaluate` found."""
    from rich.markup import escape

    from localrules.evaluation.metric import metric_entries

    console = get_console()
    names = f"[bold]{escape(run.config.rule.name)}[/] on [bold]{escape(run.config.model.name)}[/]"
    flipped = ", each with its flipped image" if found["flip"] else ""
    console.print(f"\n{names}, {found['n']:,} {found['split']} images{flipped}\n")
    console.print(_metrics(found, metric_entries(registry)))
    console.print(_confusion(run.classes, found))
    _print_plots(console, found["plots"])


def has_leak_warning(found: dict[str, Any]) -> bool:
    """Whether there is more to say of a leak check than its metrics: the score is too good, or it was not done."""
    check = found["leak_check"]
    return check is not None and ("not_done" in check or _is_implausible(found))


def print_leak_warnings(found: dict[str, Any], whose: str = "") -> None:
    """Print what the leak check found, if there was one: also beside ``--json``, on standard error.

    Args:
        found: The scores.
        whose: The run, where several are scored.
    """
    check = found["leak_check"]
    if check is None:
        return
    from rich.markup import escape

    console = get_console()
    limit = check["max_plausible_accuracy"]
    if _is_implausible(found):
        who = escape(f"{whose}: ") if whose else ""
        console.print(
            f"\n[bold yellow]Warning:[/] {who}top-1 {percent(found['top1'])} is above {percent(limit)}, more than the "
            "best published networks reach here. Before you believe it, look for a leak.",
            soft_wrap=True,
        )
    if "not_done" in check:
        console.print("The leak check could not be done.", style="yellow", end=" ")
        console.print(check["not_done"], markup=False, soft_wrap=True)
        return
    clean, left = check["top1_clean"], check["n_clean"]
    console.print(
        f"Leak check: {check['rows']:,} samples of {check['scored_on']}, looked for among {check['training_rows']:,} "
        f"training samples.\n  {check['copies']:,} were trained on as they are, {check['mirrored']:,} flipped, "
        f"{check['alike']:,} as another copy of the same photograph.\n  "
        + (
            f"Without them top-1 is {percent(clean)} of {left:,}."
            if clean is not None
            else "None is left without them."
        ),
        markup=False,
        soft_wrap=True,
    )
    if clean is not None and limit is not None and clean > limit:
        console.print(
            "  [yellow]These copies do not explain it:[/] ask how the training samples and this split were chosen, and "
            "whether the file is the original.",
            soft_wrap=True,
        )


def _is_implausible(found: dict[str, Any]) -> bool:
    limit = found["leak_check"]["max_plausible_accuracy"]
    return limit is not None and found["top1"] > limit


def _metrics(found: dict[str, Any], metrics: dict[str, MetricEntry]) -> Table:
    from rich.table import Table

    table = Table.grid(padding=(0, 2))
    fresh = found["top1_without_duplicates"]
    left_out = found["n"] - found["n_without_duplicates"]
    table.add_row("top-1", f"[bold green]{percent(found['top1'])}[/]", "")
    table.add_row("balanced", percent(found["balanced_accuracy"]), "[dim]mean of the classes' recalls[/]")
    table.add_row(
        "without duplicates",
        percent(fresh) if fresh is not None else "-",
        f"[dim]{left_out:,} samples left out that also occur in an earlier split[/]",
    )
    table.add_row(
        "one against rest", percent(found["one_vs_rest_accuracy"]), "[dim]flatters: not comparable with top-1[/]"
    )
    table.add_row(
        "calibration error",
        percent(found["expected_calibration_error"]),
        "[dim]between confidence and accuracy, 15 bins[/]",
    )
    for name, entry in metrics.items():
        if found.get(name) is not None:
            _add_metric(table, entry, found[name])
    return table


def _add_metric(table: Table, entry: MetricEntry, found: dict[str, Any]) -> None:
    from rich.markup import escape

    table.add_row("", "", "")
    for column in entry.columns:
        value = found[column.key]
        shown = percent(value) if column.is_fraction else f"{value:.3f}"
        table.add_row(escape(column.title), shown, f"[dim]{escape(column.note.format(**found))}[/]")


def _confusion(classes: tuple[str, ...], found: dict[str, Any]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), title="\nlabel by prediction", title_justify="left")
    table.add_column("", style="cyan")
    for name in classes:
        table.add_column(escape(name), justify="right")
    table.add_column("recall", justify="right", style="bold")
    for index, name in enumerate(classes):
        counts = found["confusion"][index]
        cells = [f"[bold]{count}[/]" if place == index else str(count) for place, count in enumerate(counts)]
        recall = found["recalls"][name]
        table.add_row(escape(name), *cells, percent(recall) if recall == recall else "-")
    return table


def _print_plots(console: Console, plots: dict[str, str]) -> None:
    folder = Path(next(iter(plots.values()))).parent
    names = ", ".join(Path(path).name for path in plots.values())
    console.print(f"\n{names}, scores.json and predictions.csv are in {folder}", markup=False, soft_wrap=True)
