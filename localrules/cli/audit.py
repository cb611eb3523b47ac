"""``localrules audit``: is a rule as local as it says?"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from localrules.cli.completion import names_of
from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, ReportOption, load_registry
from localrules.cli.output import get_console, print_json, status
from localrules.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from localrules.auditing.audit import Audit
    from localrules.auditing.circumstances import Circumstances
    from localrules.config.settings import Settings
    from localrules.core.locality import Locality
    from localrules.engine.session import Session
    from localrules.registry.registry import Registry

app = typer.Typer()

SIDES = (16, 24, 32, 48)  # of the images, in pixels: the smallest that the network takes


@app.command()
def audit(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder, to audit the run from its checkpoint.")
    ] = None,
    rule: Annotated[
        str | None,
        typer.Option(
            "--rule",
            metavar="NAME",
            help="The rule, or a mixture: 'blocks.0.*=softhebb,*=hsic'.",
            autocompletion=names_of("rule"),
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="NAME",
            help="The network. \\[default: the conformance kit's perceptron]",
            autocompletion=names_of("model"),
        ),
    ] = None,
    granularity: Annotated[
        str | None,
        typer.Option(
            "--granularity", metavar="G", help="layer, block, a number of parts, or window:K. \\[default: layer]"
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="A.B=VALUE", help="Any other setting, e.g. rule.beta=100. May be repeated."),
    ] = None,
    at_steps: Annotated[
        str | None,
        typer.Option(
            "--at-steps",
            metavar="N,N",
            help="With RUN: train anew from step 0, and audit at these steps. \\[default: from the last checkpoint]",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            "--steps",
            metavar="N",
            min=1,
            help="Steps of one more training, in which a message may arrive late; with RUN, of each branch. "
            "\\[default: 16; with RUN 4]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Draw the matrix into this PNG file.")
    ] = None,
    wandb: ReportOption = None,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Measure which layer's update depends on which layer's parameters, and compare it with what the rule declares.

    With [bold]--rule[/bold], a few steps on a few small images are repeated with each layer's parameters changed, one
    layer after the other; updates that differ by one bit depend on that layer.

    With [bold]RUN[/bold], the run is continued from its checkpoint, with its network, data, batches and precision, in
    a process that trains as a run does. A plugin file is given again with [bold]--plugin[/bold].

    Exit code 1 if the rule exceeds its declared class of locality.
    """
    if (run is None) == (rule is None):
        raise UsageError(
            "name a run folder or a rule" if run is None else "a run folder and a rule are both named",
            where="localrules audit",
            why="a run is audited as it is; a rule is audited on a small network",
            fix="localrules audit RUN, or localrules audit --rule hsic",
        )
    if out is not None and not out.expanduser().absolute().parent.is_dir():
        raise UsageError(
            "the matrix cannot be drawn there",
            where=f"--out {out}",
            why="there is no such folder",
            fix="make the folder, or name a file in another one",
        )
    if run is not None:
        flags = {"--model": model, "--granularity": granularity, "--set": settings}
        if given := [name for name, value in flags.items() if value]:
            raise UsageError(
                f"{given[0]} does not apply to a run",
                where=f"localrules audit {run}",
                why="a run is audited with its own settings",
                fix="leave it out, or audit a rule with --rule",
            )
        if no_plugin:
            raise UsageError(
                "--no-plugin does not apply to a run",
                where=f"localrules audit {run}",
                why="a run is audited with the plugins that it had",
                fix="leave it out",
            )
        from localrules.runs.audit import audit_run
        from localrules.runs.replay import BRANCH_STEPS

        files = [str(file.expanduser().resolve()) for file in plugin or ()]
        of_run = audit_run(run, files, at_steps=_steps(at_steps), branch_steps=steps or BRANCH_STEPS, progress=status)
        found, rule, model, document = of_run.audit, of_run.rule, of_run.model, of_run.as_dict()
    else:
        assert rule is not None
        from localrules.auditing.audit import audit as measure

        if model is None:
            from localrules.testing.conformance.subject import kit_network

            model = kit_network("perceptron")[0]
        if at_steps is not None:
            raise UsageError(
                "--at-steps is for the audit of a run",
                where="localrules audit",
                fix="name a run folder, or leave it out",
            )
        registry = load_registry(plugin, no_plugin)
        build, elsewhere, unmeasured, declared = _prepared(registry, rule, model, granularity, settings or [], steps)
        found = measure(build, declared, elsewhere=elsewhere)
        document = {**found.as_dict(rule, model), "unmeasured": unmeasured}
    if out is not None:
        from localrules.tracking.plots.dependence_matrix import plot_dependence

        matrix = found.dependence
        title = f"{rule} on {model}: {found.known_class or 'not measured'}"
        of = f"the run {run.resolve().name}" if run is not None else "a few steps on small generated images, seed 0"
        plot_dependence(matrix.layers, matrix.depends, matrix.upstream, title, out, of=of)
    if wandb is not None:
        from localrules.cli.reporting import send_report
        from localrules.tracking.charts import dependence_chart
        from localrules.tracking.service import CommandReport

        known = {key: value for key, value in document.items() if isinstance(value, int | str)}
        charts = [dependence_chart(document)]
        report = CommandReport("audit", f"audit-{rule}-{model}", run or Path(), known, known, charts)
        send_report(wandb, report, load_registry(plugin, no_plugin))
    if as_json:
        print_json(document)
    else:
        _print(found, rule, model)
        for each in document.get("unmeasured", ()):
            get_console().print(f"not measured {each}", style="yellow", markup=False, soft_wrap=True)
    if not found.holds:
        raise typer.Exit(1)


def _steps(words: str | None) -> list[int] | None:
    if words is None:
        return None
    try:
        return [int(word) for word in words.split(",")]
    except ValueError:
        raise UsageError(
            "the steps are not whole numbers", where=f"--at-steps {words}", fix="separate them by commas: 0,100,1000"
        ) from None


def _prepared(
    registry: Registry, rule: str, model: str, granularity: str | None, words: list[str], steps: int | None
) -> tuple[Callable[[], Session], list[Callable[[], Session]], list[str], Locality]:
    """A function that builds a fresh small session; others for other circumstances that rule and network admit; why the
    rest cannot be measured; and the declared class of locality, of a mixture the furthest."""
    from localrules.auditing.circumstances import LONG, Circumstances, other_circumstances, why_it_cannot_train
    from localrules.cli.run_options import collect_settings
    from localrules.config.mixture import mixture_parts
    from localrules.errors import LocalRulesError

    flags = {"rule.name": rule, "model.name": model, "granularity": granularity}
    given = collect_settings(flags, words, None, [], registry)
    if "data" in given.tree:
        raise UsageError(
            "the audit of a rule takes no settings of the data",
            where=f"--set {next(word for word in words if word.startswith('data'))}",
            why="it is measured on a few small images that it generates",
            fix="leave it out, or audit a run",
        )
    rules = [registry.resolve("rule", part.name) for part in mixture_parts(given.tree["rule"])]
    least = max(kind.info.requires.min_batch for kind in rules)  # on which every rule among them is defined

    for side in SIDES:
        try:
            build, declared = _session(registry, given, Circumstances(side=side), least)
            build()
            break
        except (LocalRulesError, RuntimeError):
            if side == SIDES[-1]:
                raise

    def builder_for(each: Circumstances) -> Callable[[], Session]:
        return _session(registry, given, replace(each, side=each.side or side), least)[0]

    def session_for(each: Circumstances) -> Session:
        return builder_for(each)()

    elsewhere, unmeasured = [], []
    soft_targets = all(kind.info.requires.admits("probabilities") for kind in rules)
    for each in other_circumstances(least_batch=least, steps=steps or LONG, soft_targets=soft_targets):
        if reason := why_it_cannot_train(partial(session_for, each)):
            unmeasured.append(f"{each}: {reason}")
        else:
            elsewhere.append(builder_for(each))
    return build, elsewhere, unmeasured, declared


def _session(
    registry: Registry, given: Settings, around: Circumstances, least: int
) -> tuple[Callable[[], Session], Locality]:
    """A function that builds a session, and the declared class."""
    from localrules.config.settings import merge_settings
    from localrules.engine.network_cache import NetworkCache
    from localrules.engine.resolve import resolve_run
    from localrules.engine.session import Session
    from localrules.testing.conformance.sessions import toy_dataset

    around_it = {**around.settings(), "data": {"name": "small images"}}
    settings = merge_settings(type(given).from_tree(around_it, "default of the audit"), given)
    enough = {
        "batch_size": max(settings.get("batch_size"), least),
        "steps": max(settings.get("steps", default=0) or 0, around.steps),
        "epochs": None,
    }
    run = resolve_run(merge_settings(settings, type(given).from_tree(enough)), registry, network_only=True)
    assert around.side is not None
    shape = (1, around.side, around.side)
    data = toy_dataset(2 * run.config.batch_size, around.classes, shape)
    networks = NetworkCache()
    return lambda: Session.build(run, data, networks=networks), run.locality


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
    console.print(
        f"\nclass [bold {colour}]{found.known_class or 'not measured'}[/], declared [bold]{found.declared}[/]: ", end=""
    )
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
