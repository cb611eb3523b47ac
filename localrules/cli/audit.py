"""``localrules audit``: is a rule as local as it says?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry
from localrules.cli.output import get_console, print_json, status
from localrules.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from localrules.core.layer import Locality
    from localrules.engine.session import Session
    from localrules.registry.registry import Registry
    from localrules.testing.auditing.audit import Audit

app = typer.Typer()

SIDES = (16, 24, 32, 48)  # of the images, in pixels: the smallest that the network takes
BATCH = 8


@app.command()
def audit(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder, to audit the run from its checkpoint.")
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option("--rule", metavar="NAME", help="The rule, or a mixture: 'blocks.0.*=softhebb,*=hsic'."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="The network. \\[default: the conformance kit's perceptron]"),
    ] = None,
    granularity: Annotated[
        str | None,
        typer.Option("--granularity", metavar="G", help="layer, block, or a number of parts. \\[default: layer]"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Any other setting, e.g. rule.beta=100. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Draw the matrix into this PNG file.")
    ] = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Measure which layer's update depends on which layer's parameters, and compare it with what the rule declares.

    With [bold]--rule[/bold], a few steps on a few small images are repeated with each layer's parameters changed, one
    layer after the other; updates that differ by one bit depend on that layer.

    With [bold]RUN[/bold], the same is done from the run's checkpoint, with its network, data, batches and precision,
    each time in a new process. A plugin file is given again with [bold]--plugin[/bold].

    Exit code 1 if the rule exceeds its declared class of locality.
    """
    if (run is None) == (rule is None):
        raise UsageError(
            "name a run folder or a rule" if run is None else "a run folder and a rule are both named",
            where="localrules audit",
            why="a run is audited as it is; a rule is audited on a small network",
            fix="localrules audit RUN, or localrules audit --rule hsic",
        )
    registry = load_registry(plugin, no_plugin)
    if run is not None:
        flags = {"--model": model, "--granularity": granularity, "--set": settings}
        if given := [name for name, value in flags.items() if value]:
            raise UsageError(
                f"{given[0]} does not apply to a run",
                where=f"localrules audit {run}",
                why="a run is audited with its own settings",
                fix="leave it out, or audit a rule with --rule",
            )
        from localrules.testing.auditing.run_audit import audit_run

        of_run = audit_run(run, [str(file) for file in plugin or ()], progress=status)
        found, rule, model, document = of_run.audit, of_run.rule, of_run.model, of_run.as_dict()
    else:
        assert rule is not None
        from localrules.testing.auditing.audit import audit as measure

        if model is None:
            from localrules.testing.conformance.subject import kit_network

            model = kit_network("perceptron")[0]
        build, declared = _prepared(registry, rule, model, granularity, settings or [])
        found = measure(build, declared)
        document = found.as_dict(rule, model)
    if out is not None:
        from localrules.tracking.plots.dependence_matrix import plot_dependence

        matrix = found.dependence
        plot_dependence(matrix.layers, matrix.depends, matrix.upstream, f"{rule} on {model}: {found.measured}", out)
    if as_json:
        print_json(document)
    else:
        _print(found, rule, model)
    if not found.holds:
        raise typer.Exit(1)


def _prepared(
    registry: Registry, rule: str, model: str, granularity: str | None, words: list[str]
) -> tuple[Callable[[], Session], Locality]:
    """A function that builds a fresh small session, and the declared class of locality, of a mixture the furthest."""
    from localrules.cli.run_options import collect_settings
    from localrules.config.mixture import mixture_parts
    from localrules.config.settings import Settings, merge_settings
    from localrules.engine.resolve import resolve_run
    from localrules.engine.session import Session
    from localrules.errors import LocalRulesError
    from localrules.testing.auditing.audit import STEPS
    from localrules.testing.conformance.sessions import toy_dataset

    flags = {"rule.name": rule, "model.name": model, "granularity": granularity, "steps": STEPS}
    given = collect_settings(flags, words, None, [], registry).without("data")
    rules = [registry.resolve("rule", part.name) for part in mixture_parts(given.tree["rule"])]
    least = max(kind.info.requires.min_batch for kind in rules)  # on which every rule among them is defined
    small = {
        "batch_size": BATCH,
        "device": "cpu",
        "schedule": {"name": "constant"},
        "data": {"name": "small images"},
    }
    settings = merge_settings(Settings.from_tree(small, "default of the audit"), given)
    enough = {"batch_size": max(settings.get("batch_size"), least)}
    run = resolve_run(merge_settings(settings, Settings.from_tree(enough)), registry, network_only=True)

    for side in SIDES:
        data = toy_dataset(2 * run.config.batch_size, shape=(1, side, side))
        try:
            Session.build(run, data)
            break
        except (LocalRulesError, RuntimeError):
            if side == SIDES[-1]:
                raise
    return lambda: Session.build(run, data), run.locality


def _print(found: Audit, rule: str, model: str) -> None:
    from rich.markup import escape
    from rich.text import Text

    console, matrix = get_console(), found.dependence
    console.print(f"[bold]{escape(rule)}[/] on [bold]{escape(model)}[/]: row by row, whose parameters an update feels")
    width, places = max(map(len, matrix.layers)), len(str(len(matrix.layers)))
    for row, name in enumerate(matrix.layers):
        line = Text(f"{row + 1:>{places}} {name:<{width}}  ")
        for column in range(len(matrix.layers)):
            line.append(*_symbol(found, row, column))
        console.print(line, soft_wrap=True)
    console.print(
        "[bold]■[/] its own  [blue]●[/] of a layer that it reads  [yellow]◆[/] of one that it does not  · none"
    )
    colour = "green" if found.holds else "red"
    console.print(f"\nclass [bold {colour}]{found.measured}[/], declared [bold]{found.declared}[/]: ", end="")
    console.print(f"[{colour}]{'it holds' if found.holds else 'it does not hold'}[/]")
    for reason in found.reasons:
        console.print(f"  {reason}", style="red", markup=False, soft_wrap=True)


def _symbol(found: Audit, row: int, column: int) -> tuple[str, str]:
    matrix = found.dependence
    if not (matrix.depends[row][column] or matrix.buffers[row][column]):
        return "· ", "dim"
    if row == column:
        return "■ ", "bold"
    return ("● ", "blue") if matrix.upstream[row][column] else ("◆ ", "yellow" if found.holds else "bold red")
