"""The flags of plugins' metrics: ``--metric NAME=FILE``, and for each installed metric ``--NAME FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand

from localrules.errors import UsageError
from localrules.evaluation.metric import metric_entries
from localrules.registry.entries import MetricEntry
from localrules.registry.registry import Registry

_META = "localrules.metrics"

MetricOption = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME=FILE",
        help="Also compute a plugin's metric, which reads this file. May be repeated.",
    ),
]


class MetricCommand(TyperCommand):
    """A command with a flag for each metric of the installed plugins."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        taken = {option for param in params for option in param.opts}
        flags = [_flag(entry) for entry in metric_entries(Registry.load()).values() if f"--{entry.name}" not in taken]
        place = next((at for at, param in enumerate(params) if "--metric" in param.opts), len(params))
        return [*params[: place + 1], *flags, *params[place + 1 :]]


def _flag(entry: MetricEntry) -> Any:
    """The flag of a metric, taken from a command that has no other: typer has no public way to build one alone."""

    def remember(ctx: typer.Context, value: str | None) -> str | None:
        if value is not None:
            ctx.meta.setdefault(_META, {})[entry.name] = Path(value)
        return value

    option = typer.Option(
        None, f"--{entry.name}", metavar=entry.metavar, help=escape(entry.help), expose_value=False, callback=remember
    )

    def command(value: str | None = option) -> None: ...

    alone = typer.Typer(add_completion=False)
    alone.command()(command)
    flag = next(param for param in typer.main.get_command(alone).params if f"--{entry.name}" in param.opts)
    flag.name = f"metric {entry.name}"  # the parser keeps values by name: flags of one name would share theirs
    return flag


def metric_files(ctx: typer.Context, words: list[str] | None, registry: Registry) -> dict[str, Path]:
    """The file of each metric to compute.

    Args:
        ctx: The command's context, which holds the metrics' own flags.
        words: What ``--metric`` was given.
        registry: Where metrics are looked up.

    Raises:
        UsageError: A word is not ``NAME=FILE``, or there is no such metric or file.
    """
    files: dict[str, Path] = dict(ctx.meta.get(_META, {}))
    for word in words or []:
        name, equals, path = word.partition("=")
        if not equals or not path:
            raise UsageError("a metric needs its file", where=f"--metric {word}", fix="write --metric NAME=FILE")
        files[name] = Path(path)
    for name, file in files.items():
        entry = registry.find("metric", name).entry
        if not file.expanduser().is_file():
            raise UsageError("there is no such file", where=f"--metric {name}={file}", fix=f"{name}: {entry.summary}")
    return files
