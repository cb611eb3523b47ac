"""``localrules bench``: what a rule costs beside back-propagation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, ReportOption, load_registry, setting
from localrules.cli.output import get_console, print_json, status
from localrules.cli.run_options import default_dataset, default_entries
from localrules.errors import LocalRulesError, UsageError
from localrules.utils.precision import Precision

if TYPE_CHECKING:
    from rich.table import Table

    from localrules.config.overrides import Tree

app = typer.Typer()

RULES = "backprop-checkpointed,backprop-checkpointed@block,hsic,hsic-normalized,local-ce"


@app.command()
def bench(
    rules: Annotated[
        str, typer.Option("--rules", metavar="A,B", help="Rules to measure; A@block runs A at granularity block.")
    ] = RULES,
    model: Annotated[str | None, setting("--model")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="A.B=VALUE",
            help="Any other setting that all rules share, e.g. model.width=0.25. May be repeated.",
        ),
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Samples a step. \\[default: 128]")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Timed steps of each.")] = 30,
    side: Annotated[int, typer.Option("--side", min=8, help="Side of the grey images, in pixels.")] = 48,
    precision: Annotated[
        Precision | None, typer.Option("--precision", help="Precision of all. \\[default: fp32]")
    ] = None,
    threads: Annotated[int | None, typer.Option("--threads", help="CPU threads. \\[default: all]")] = None,
    parallel_layers: Annotated[
        int,
        typer.Option(
            "--parallel-layers",
            min=1,
            help="Layers that train at the same time, where the rule allows it, each on an equal part of the threads.",
        ),
    ] = 1,
    parallel: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            min=2,
            help="Also time as many processes, which divide each batch or the layers, in short runs of each rule.",
        ),
    ] = None,
    wandb: ReportOption = None,
    depths: Annotated[bool, typer.Option("--depth", help="Also compare 2 blocks with 6.")] = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Measure step time and peak memory of rules beside back-propagation.

    Rules take turns in one process, on random images. Ratios are medians within rounds, with 95 % intervals by
    bootstrap; the controls are back-propagation, a plain loop written by hand, and back-propagation with checkpointing.

    Beside each ratio stand its floors, the ratios of MACs and of bytes read and written, and the fraction of the step
    in which the device computes.

    Memory is the allocator's peak in a step above what was live at its start.
    """
    registry = load_registry(plugin, no_plugin)
    from localrules.benchmark import suite
    from localrules.config.overrides import merge
    from localrules.engine.device import available_threads

    plain = {
        "model": {"name": model or default_entries("model", registry)[0].name},
        "batch_size": 128,
        "precision": "fp32",
        "threads": available_threads(),
    }
    flags = {"model": model and {"name": model}, "batch_size": batch_size, "precision": precision, "threads": threads}
    given = {name: value for name, value in flags.items() if value is not None}
    settings = merge(merge(plain, _shared_settings(overrides or [])), given)  # flags win
    names = list(dict.fromkeys(name.strip() for name in rules.split(",") if name.strip()))
    found = suite.bench(names, settings, registry, rounds, side, parallel_layers)
    found["settings"]["overrides"] = overrides or []
    try:
        if depths:
            found["depth"] = suite.depth(names, settings, registry)
        if parallel is not None:
            from localrules.benchmark.processes import bench_processes

            whole = [name for name in dict.fromkeys([suite.CONTROL, *names]) if "@" not in name]
            data, line = default_dataset(None, registry)
            status(line)
            found["processes"] = bench_processes(whole, {**settings, "data": data}, registry, parallel, rounds)
    except LocalRulesError:
        if not as_json:
            _print(found)  # what was measured before is not lost
        raise
    if wandb is not None:
        from localrules.cli.reporting import report_rows

        rows = [{**row, "ratio": row["ratio"]["median"]} for row in found["contenders"]]
        report_rows(
            wandb, "bench", Path(), rows, registry, label="name", metric="step_seconds", cost="peak_memory_mib",
            config=found["settings"], in_group=False,
        )  # fmt: skip
    if as_json:
        print_json(found)
    else:
        _print(found)


def _shared_settings(overrides: list[str]) -> Tree:
    """The settings of ``--set``, if all rules can share them."""
    from localrules.config.settings import Settings

    given = Settings.from_overrides(overrides)
    for section, why in (
        ("rule", "every rule is measured with its own defaults"),
        ("data", "steps are measured on random images, --side says how large"),
    ):
        if section in given.tree:
            raise UsageError(
                f"bench takes no settings of the {section}",
                where=f"--set {next(word for word in overrides if word.startswith(section))}",
                why=why,
                fix="leave it out",
            )
    return given.tree


def _print(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console, shared = get_console(), found["settings"]
    at_once = shared["parallel_layers"]
    shape = f"{shared['side']} x {shared['side']}, batch {shared['batch_size']}, {shared['precision']}"
    parts = [shared["model"], *shared["overrides"], shape, f"{shared['threads']} threads, {shared['rounds']} rounds"]
    title = ", ".join(parts + [f"{at_once} parallel layers where they can"] * (at_once > 1))
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", style="cyan", no_wrap=True)
    for heading in ("step", "to backprop", "MACs", "bytes", "device", "to by hand", "memory", "to backprop"):
        table.add_column(heading, justify="right")
    for row in found["contenders"]:
        table.add_row(
            escape(row["name"]),
            f"{row['step_seconds']:.3f} s",
            _with_interval(row["ratio"]),
            f"{row['macs_ratio']:.3f}",
            f"{row['bytes_ratio']:.3f}",
            f"{100 * row['device_fraction']:.0f} %",
            _with_interval(row["ratio_to_hand"]),
            f"{row['peak_memory_mib']:.0f} MiB",
            f"{row['memory_ratio']:.3f}",
        )
    console.print(table)
    console.print(f"\nThe input pipeline takes {100 * found['input_share']:.2f} % of a backprop step.")
    for row in found.get("depth", []):
        few, many = (value for key, value in row.items() if key.startswith("blocks_"))
        console.print(
            f"{row['name']}: {few:.0f} MiB with 2 blocks, {many:.0f} with 6: x {row['growth']:.2f}", markup=False
        )
    if rows := found.get("processes"):
        console.print(_processes(rows))


def _processes(rows: list[dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="\nSeveral processes", title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", style="cyan", no_wrap=True)
    for heading in ("", "threads", "step", "samples/s", "to one", "to one, all threads", "to backprop, batches"):
        table.add_column(heading, justify="right" if heading else "left")
    table.add_column("memory", justify="right")
    table.add_column("bubble", justify="right")
    shown = {"alone": "one", "one": "one, all threads", "data": "batches", "layers": "layers"}
    control = rows[0]["data"]
    for row in rows:
        for way, name in shown.items():
            seconds = row[way]
            if seconds is None:
                continue
            others = (row["alone"], row["one"], control)
            bubble = row["bubble_fraction"] if way == "layers" else None
            table.add_row(
                escape(row["name"]) if way == "alone" else "",
                name,
                str(row["threads"][way]),
                f"{seconds:.3f} s",
                f"{row['samples_per_second'][way]:.0f}",
                *("-" if other is None else f"{other / seconds:.2f}" for other in others),
                f"{row['peak_memory_mib'][way]:.0f} MiB",
                "" if bubble is None else f"{100 * bubble:.0f} %",
            )
    return table


def _with_interval(ratio: dict[str, float]) -> str:
    return f"[bold]{ratio['median']:.3f}[/]\n[dim]{ratio['low']:.3f}-\n{ratio['high']:.3f}[/]"
