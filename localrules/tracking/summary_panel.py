"""The summary of a run in the terminal: accuracy, baselines, cost, and next commands."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from localrules.callbacks.base import Plot, RunInfo
from localrules.tracking.records import CONFIG, PAGE
from localrules.utils.console import print_command
from localrules.utils.formatting import duration, memory, percent, step_time
from localrules.utils.text import shell_quote


def print_summary(console: Console, run: RunInfo, summary: Mapping[str, Any], images: list[Plot]) -> None:
    """Print the closing summary.

    Args:
        console: Where to.
        run: The run.
        summary: As ``run --json`` prints it, with ``status`` and, where known, ``majority_share``: the fraction of the
            largest class in the valid split (the train split where there is no valid one).
        images: What was drawn.
    """
    done = summary.get("status", "done") == "done"
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in _lines(run, summary, images):
        table.add_row(name, text)
    title = f"{run.rule} trained {run.model} on {run.data}"
    if not done:
        title += f", stopped after step {summary.get('steps', '?')} of {run.total_steps}"
    colour = "green" if done else "yellow"
    console.print(
        Panel(Group(table), title=Text(title, "bold"), title_align="left", box=box.ROUNDED, border_style=colour)
    )
    for why, command in next_commands(run, summary):
        print_command(console, why, command)


def _lines(run: RunInfo, summary: Mapping[str, Any], images: list[Plot]) -> list[tuple[str, Text]]:
    number = summary.get
    lines = []
    if (valid := number("valid_accuracy")) is not None:
        lines.append(("valid accuracy", _accuracy(valid, run, number("majority_share"))))
    elif number("status", "done") == "done":
        none = f"none: {run.data} has no valid split (--set holdout_fraction=0.1 holds a part of train out)"
        lines.append(("valid accuracy", Text(none)))
    if (train := number("train_accuracy")) is not None:
        lines.append(("train accuracy", Text.assemble((percent(train), "bold"), "  on images it has seen")))
    if (seconds := number("seconds")) is not None:
        steps = number("steps", 0)
        text = f"{number('epochs', 0):.3g} epochs, {steps:,} step{'s'[: steps != 1]} in {duration(seconds)}"
        lines.append(("trained", Text(text + _pace(summary))))
    if (parameters := number("parameters")) is not None:
        lines.append(("network", Text(f"{parameters:,} parameters in {len(run.layers)} layers")))
    if (peak := number("peak_memory_mib")) is not None:
        whole = number("process_peak_mib")
        more = f", {memory(whole)} the whole process" if whole is not None else ""
        lines.append(("memory", Text(f"{memory(peak)} for a training step{more}")))
    if stages := number("stage_seconds"):
        waits = f"they wait for {percent(number('bubble_fraction', 0))} of the time"
        lines.append(("stages", Text(f"{', '.join(map(step_time, stages))} a step; {waits}")))
    if locality := number("locality"):
        lines.append(("locality", _locality(locality)))
    if reason := number("stop_reason"):
        lines.append(("stopped early", Text(f"after step {number('steps', 0):,} of {run.total_steps:,}: {reason}")))
    lines.append(("folder", Text(_short(run.directory))))
    if (run.directory / PAGE).exists():
        lines.append(("page", Text(_short(run.directory / PAGE))))
    if images:
        lines.append(("plots", Text(", ".join(image.path.name for image in images))))
    return lines


def _accuracy(valid: float, run: RunInfo, majority: float | None) -> Text:
    chance = 1 / max(1, len(run.classes))
    compared = f"  guessing {percent(chance)}"
    if majority is not None:
        compared += f", always the majority class {percent(majority)}"
    text = Text.assemble((percent(valid), "bold green"), compared)
    if valid <= max(chance, majority or 0) * 1.05:
        text.append("\nNo better than guessing: it has not learned.", "yellow")
    return text


def _locality(found: Mapping[str, Any]) -> Text:
    if found["holds"]:
        return Text.assemble((found["measured"], "bold"), f"  measured in this run, declared {found['declared']}")
    reason = found.get("reason", "it does not hold")
    return Text(f"{found['measured']}, measured in this run, declared {found['declared']}: {reason}", "bold red")


def _pace(summary: Mapping[str, Any]) -> str:
    parts = []
    if (seconds := summary.get("step_seconds")) is not None:
        parts.append(f"{step_time(seconds)} a step")
    if (speed := summary.get("samples_per_second")) is not None:
        parts.append(f"{speed:,.0f} samples/s")
    return f" ({', '.join(parts)})" if parts else ""


def next_commands(run: RunInfo, summary: Mapping[str, Any], folder: Path | None = None) -> list[tuple[str, str]]:
    """Reasons to go on, each with its command.

    Args:
        run: The run.
        summary: As for :func:`print_summary`.
        folder: The run folder as the command shall name it; as short as it can be if ``None``.
    """
    folder = folder or Path(_short(run.directory))
    if summary.get("status", "done") != "done":
        return [("go on", run.command("run --resume", folder))]
    split = "train" if summary.get("valid_accuracy") is None else "valid"
    control = "hsic" if run.rule.startswith("backprop") else "backprop"
    elsewhere = folder.parent != Path("runs") and run.directory.parent != Path("runs").resolve()
    again = f"{run.command('run --config', folder / CONFIG)} --rule {control}"
    return [
        ("look at it class by class", f"{run.command('eval', folder)} --split {split}"),
        (
            "train another rule with the same settings",
            f"{again} --out {shell_quote(folder.parent)}" if elsewhere else again,
        ),
    ]


def _short(path: Path) -> str:
    """Relative where that is shorter, as the user would type it."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
