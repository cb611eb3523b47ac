"""``localrules data``: which data sets there are, what is in them, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localrules.cli.completion import names_of
from localrules.cli.listing import ListCommand, print_entry, print_list
from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import get_console, print_json

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset
    from localrules.data.stats import DatasetStats
    from localrules.registry.registry import Registry

app = typer.Typer(cls=ListCommand)

NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The data set, as NAME or DISTRIBUTION/NAME.", autocompletion=names_of("data")),
]
DataPathOption = Annotated[
    Path | None,
    typer.Option(
        "--data-path", metavar="PATH", help="The data set's file or folder; looked for in the usual places if unset."
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="data.OPTION=VALUE", help="An option of the data set. May be repeated."),
]


@app.callback(invoke_without_command=True)
def data(
    ctx: typer.Context,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """List the data sets that are installed, look into one, or export one.

    Use one with [bold]localrules run --data NAME --data-path PATH[/bold], and set its options with
    [bold]--set data.OPTION=VALUE[/bold].
    """
    if ctx.invoked_subcommand is None:
        print_list(load_registry(plugin, no_plugin).entries("data"), title="Data sets", as_json=as_json)


@app.command()
def show(
    name: NameArgument,
    data_path: DataPathOption = None,
    set_: SetOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where the two plots go (default: localrules-data/NAME)."),
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Look into a data set: options, counts by class and split, duplicates, conflicting labels, constant images.

    Draws the histogram of the labels and a sheet of samples, and says where.
    """
    registry = load_registry(plugin, no_plugin)
    if not as_json:
        print_entry(registry, "data", name, as_json=False)
    from localrules.data.stats import dataset_stats

    loaded = _load(registry, name, data_path, set_ or [])
    found = dataset_stats(loaded)
    plots = _draw(loaded, out or Path("localrules-data") / loaded.name.replace(":", "-"))
    if as_json:
        entry = registry.find("data", name).as_dict()
        print_json({**entry, **found.as_dict(), "plots": {plot.stem: str(plot) for plot in plots}})
    else:
        _print_report(found, plots)


@app.command()
def export(
    name: NameArgument,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file; gzipped if its name ends in .gz.")],
    data_path: DataPathOption = None,
    set_: SetOption = None,
    format_: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="The format; may be left out where only one is installed."),
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Write a data set to a file, in a format that a plugin supplies."""
    registry = load_registry(plugin, no_plugin)
    write = registry.resolve("exporter", format_ or _only_format(registry))
    loaded = _load(registry, name, data_path, set_ or [])
    from localrules.utils.plugin_border import plugin_border, wrong_result

    with plugin_border(write, ""):
        rows = write(loaded, out)
    if not isinstance(rows, int):
        raise wrong_result(write, "", "the number of rows that it wrote", f"an object of type {type(rows).__name__}")
    if as_json:
        print_json({"name": name, "file": str(out.resolve()), "rows": rows})
    else:
        get_console().print(f"Wrote {rows:,} rows to {out}", markup=False)


def _only_format(registry: Registry) -> str:
    from localrules.errors import UsageError

    names = [item.entry.name for item in registry.entries("exporter") if item.status == "ok"]
    if len(names) != 1:
        raise UsageError(
            "no format is named" if names else "no installed plugin supplies an export format",
            where="localrules data export",
            why=f"the formats are: {', '.join(names)}" if names else "formats come from plugins",
            fix=f"--format {names[0]}" if names else "see localrules plugins",
        )
    return names[0]


def _load(registry: Registry, name: str, path: Path | None, options: list[str]) -> Dataset:
    from localrules.config.settings import Settings, merge_settings
    from localrules.engine.builder import load_dataset
    from localrules.engine.resolve import resolve_component
    from localrules.errors import UsageError

    if path is not None and "path" not in registry.resolve("data", name).Config.model_fields:
        raise UsageError(f"{name} is not read from a file", where=f"--data-path {path}", fix="leave out --data-path")
    given = Settings.from_overrides(options)
    if others := sorted(set(given.tree) - {"data"}):
        raise UsageError(
            f"there is no option {others[0]} of a data set",
            where=given.source_of(others[0]),
            why="its options begin with data.",
            fix=f"see localrules data show {name}",
        )
    named: dict[str, object] = {"name": name} if path is None else {"name": name, "path": str(path)}
    settings = merge_settings(given, Settings.from_tree({"data": named}))
    return load_dataset(resolve_component("data", settings.sub("data"), registry))


def _draw(loaded: Dataset, folder: Path) -> list[Path]:
    from localrules.data.plots import plot_label_counts, plot_samples
    from localrules.errors import UsageError

    labels, samples = folder.resolve() / "labels.png", folder.resolve() / "samples.png"
    try:
        labels.parent.mkdir(parents=True, exist_ok=True)
        plot_label_counts(loaded, labels)
        plot_samples(loaded, samples)
    except OSError as error:
        raise UsageError(
            "the plots cannot be written", where=str(folder), why=error.strerror or str(error), fix="choose an --out"
        ) from error
    return [labels, samples]


def _print_report(found: DatasetStats, plots: list[Path]) -> None:
    from rich.markup import escape
    from rich.table import Table

    console = get_console()
    channels, height, width = found.shape
    console.print(f"\n[bold]{escape(found.origin)}[/]", soft_wrap=True)
    console.print(
        f"[dim]{found.rows:,} images of {height} x {width} pixels, {channels} channel{'s' if channels > 1 else ''}, "
        f"fingerprint {found.fingerprint[:12]}[/]\n"
    )
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("class", style="cyan")
    for name in found.splits:
        table.add_column(name, justify="right")
        table.add_column("%", justify="right", style="dim")
    for label in next(iter(found.splits.values())).by_class:
        cells = []
        for split in found.splits.values():
            cells += [f"{split.by_class[label]:,}", f"{100 * split.by_class[label] / split.rows:.1f}"]
        table.add_row(escape(label), *cells)
    table.add_row()
    for title, field in (
        ("all rows", "rows"),
        ("copies within the split", "repeated"),
        ("copies of earlier splits", "in_earlier_splits"),
        ("constant images", "constant"),
    ):
        cells = []
        for split in found.splits.values():
            cells += [f"{getattr(split, field):,}", f"{100 * getattr(split, field) / split.rows:.1f}"]
        table.add_row(title, *cells, style="bold" if field == "rows" else None)
    console.print(table)
    conflicts = f"labels conflict on {found.conflicting_images:,} of them ({found.conflicting_rows:,} rows)"
    console.print(
        f"\n{found.distinct:,} distinct images in {found.rows:,} rows; "
        f"{conflicts if found.conflicting_images else 'no labels conflict'}.",
        soft_wrap=True,
    )
    console.print("\nPlots:", *(f"  {plot}" for plot in plots), sep="\n", markup=False, soft_wrap=True)
    if not found.redistributable:
        console.print("[yellow]This data may not be passed on: keep samples.png to yourself.[/]")
