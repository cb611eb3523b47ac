"""``localrules run``: train a model by a rule."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from localrules.cli.completion import names_of
from localrules.cli.options import JsonOption, NoPluginOption, PluginOption, load_registry, setting
from localrules.cli.output import get_console, print_json, status
from localrules.cli.run_options import collect_settings, fill_defaults
from localrules.errors import UsageError
from localrules.utils.launch_env import is_main_process
from localrules.utils.precision import Precision

if TYPE_CHECKING:
    from localrules.config.settings import Settings
    from localrules.engine.resolved_run import ResolvedRun
    from localrules.registry.registry import Registry

app = typer.Typer()

_WHAT, _HOW, _WHERE = "What to train", "How to train", "Where and what to keep"


def _option(*names: str, help: str, panel: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=panel, metavar=metavar, **more)


@app.command()
def run(
    rule: Annotated[
        str | None,
        _option(
            "--rule",
            metavar="NAME",
            panel=_WHAT,
            help="The learning rule (localrules rules lists them).",
            autocompletion=names_of("rule"),
        ),
    ] = None,
    model: Annotated[str | None, setting("--model", _WHAT)] = None,
    data: Annotated[str | None, setting("--data", _WHAT)] = None,
    data_path: Annotated[Path | None, setting("--data-path", _WHAT)] = None,
    download: Annotated[
        bool | None,
        _option("--download", panel=_WHAT, help="Download the data set by torchvision if it is not on this machine."),
    ] = None,
    epochs: Annotated[
        float | None,
        _option("--epochs", panel=_HOW, help="Passes over the training split; a fraction is allowed. \\[default: 3]"),
    ] = None,
    steps: Annotated[int | None, setting("--steps", _HOW)] = None,
    batch_size: Annotated[int | None, setting("--batch-size", _HOW)] = None,
    lr: Annotated[
        float | None, _option("--lr", panel=_HOW, help="Peak learning rate. \\[default: the rule's, else 0.003]")
    ] = None,
    seed: Annotated[int | None, _option("--seed", panel=_HOW, help="Seed of all draws. \\[default: 0]")] = None,
    granularity: Annotated[
        str | None,
        _option(
            "--granularity",
            metavar="WHAT",
            panel=_HOW,
            help="Local unit: layer, block, a number of parts, or window:K. \\[default: layer]",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        _option(
            "--preset",
            metavar="NAME",
            panel=_HOW,
            help="Named settings; 'paper' is the paper's 10,000 steps as printed.",
            autocompletion=names_of("preset"),
        ),
    ] = None,
    config: Annotated[
        Path | None,
        _option("--config", metavar="FILE", panel=_HOW, help="Settings from a TOML file, e.g. a run's config.toml."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        _option(
            "--set",
            metavar="A.B=C",
            panel=_HOW,
            help="Any other setting: rule.beta=100, model.blocks=2, phases=two-phase. May be repeated.",
        ),
    ] = None,
    device: Annotated[str | None, setting("--device", _WHERE)] = None,
    precision: Annotated[Precision | None, setting("--precision", _WHERE)] = None,
    threads: Annotated[int | None, setting("--threads", _WHERE)] = None,
    out: Annotated[Path, _option("--out", metavar="DIR", panel=_WHERE, help="Where run folders go.")] = Path("runs"),
    resume: Annotated[
        Path | None, _option("--resume", metavar="RUN", panel=_WHERE, help="Continue the run in this folder.")
    ] = None,
    diagnose: Annotated[
        str | None,
        _option(
            "--diagnose",
            metavar="A,B",
            panel=_WHERE,
            help="Also measure each layer's gradient, update, angle (to backprop's), dead (units), hsic-input, "
            "hsic-labels, cka, probe (accuracy); or all. Also histograms, for trackers.",
        ),
    ] = None,
    audit: Annotated[
        bool,
        _option(
            "--audit",
            panel=_WHERE,
            help="Measure the class of locality at the start, in the middle and at the end of the run: 2 % more steps, "
            "at least 18. On Linux without a visible GPU.",
        ),
    ] = False,
    checkpoint_every: Annotated[
        int | None,
        _option("--checkpoint-every", metavar="STEPS", panel=_WHERE, help="\\[default: every epoch and every minute]"),
    ] = None,
    wandb: Annotated[
        Literal["auto", "online", "offline", "off"] | None,
        _option(
            "--wandb",
            panel=_WHERE,
            help="Weights & Biases: auto is online when logged in, else offline. \\[default: off]",
        ),
    ] = None,
    track: Annotated[list[str] | None, setting("--track", _WHERE)] = None,
    devices: Annotated[
        int | None,
        _option("--devices", metavar="N", panel=_WHERE, help="Processes that do the work. \\[default: 1]"),
    ] = None,
    parallel: Annotated[
        Literal["data", "layers"] | None,
        _option(
            "--parallel", panel=_WHERE, help="Whether processes divide each batch or the layers. \\[default: data]"
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        _option(
            "--dry-run", panel=_WHERE, help="Build everything, show the layers and one step's cost; write nothing."
        ),
    ] = False,
    as_json: JsonOption = False,
    plugin: PluginOption = None,
    no_plugin: NoPluginOption = None,
) -> None:
    """Train a model by a learning rule.

    Same model, same data, another rule: [bold]--rule hsic[/bold], [bold]--rule backprop[/bold], or your own.

    The run leaves a folder with its configuration, metrics, summary, weights and images.

    Ctrl-C stops it with a checkpoint, and [bold]--resume[/bold] continues it bit for bit.

    Exit code 1 if [bold]--audit[/bold] finds that the rule exceeds its declared class of locality.
    """
    registry = load_registry(plugin, no_plugin)
    given = {
        "rule.name": rule,
        "model.name": model,
        "data.name": data,
        "data.path": data_path,
        "data.download": download,
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "optimizer.lr": lr,
        "seed": seed,
        "granularity": granularity,
        "preset": preset,
        "device": device,
        "devices": devices,
        "parallel": parallel,
        "precision": precision,
        "threads": threads,
        "audit": audit or None,
        "checkpoint_every": checkpoint_every,
        "diagnostics": diagnose,
        "trackers.wandb.mode": None if wandb == "off" else wandb,
    }
    settings = collect_settings(given, set_ or [], config, track or [], registry, _trackers_of(resume))
    if wandb == "off" and "wandb" in (track or []):
        raise UsageError("--wandb off and --track wandb are both given", where="localrules run", fix="leave out one")
    if wandb == "off":
        settings = settings.without_table("trackers", "wandb")
    if resume is not None:
        if dry_run:
            raise UsageError(
                "--dry-run and --resume are both given", where="localrules run", fix="leave out one of them"
            )
        _finish(_resume(registry, resume, settings), as_json)
        return
    if settings.get("rule", "name") is None:
        raise UsageError(
            "no rule is named",
            where="localrules run",
            why="there is no default: the rule is the point",
            fix="--rule hsic",
        )
    settings, lines = fill_defaults(settings, registry)
    for line in lines if is_main_process() else ():
        status(line)
    if dry_run:
        from localrules.engine.resolve import resolve_run

        _dry_run(resolve_run(settings, registry), as_json)
        return
    from localrules import train

    _finish(train(settings=settings, out=out, callbacks=_callbacks(), plugins=registry).summary, as_json)


def _trackers_of(folder: Path | None) -> Collection[str]:
    """The trackers of a run that is to be continued."""
    from localrules.runs.load import read_run

    return () if folder is None else read_run(folder.expanduser())[0].trackers


def _resume(registry: Registry, folder: Path, settings: Settings) -> dict[str, Any]:
    from localrules import resume
    from localrules.runs.result import completed_summary
    from localrules.tracking.records import read_summary

    done = completed_summary(folder)
    if read_summary(folder.expanduser()) is None:
        status(
            "This run has no summary: it failed, it was killed, or code of a plugin ended its process. "
            "It goes on from its last checkpoint."
        )
    summary = resume(folder, settings=settings, callbacks=_callbacks(), plugins=registry).summary
    if done is not None and (reason := done.get("stop_reason")):
        status(f"This run was stopped after step {done['steps']} and is finished: {reason}.")
    elif done is not None:
        status("This run is finished: there is nothing left to train.")
    return summary


def _callbacks() -> list[Any]:
    from localrules.tracking.console import ConsoleProgress

    return [ConsoleProgress()]


def _finish(summary: dict[str, Any], as_json: bool) -> None:
    if not is_main_process():
        return
    if as_json:
        print_json(summary)
    if summary.get("leak_check"):
        from localrules.cli.scores import print_leak_warnings

        print_leak_warnings({**summary, "top1": summary["valid_accuracy"]})
    if not summary.get("locality", {"holds": True})["holds"]:
        raise typer.Exit(1)


def _dry_run(run: ResolvedRun, as_json: bool) -> None:
    from localrules.runs.dry_run import dry_run

    found = dry_run(run)
    if not is_main_process():
        return
    if as_json:
        print_json(found)
        return
    from localrules.cli.layers import print_dry_run

    print_dry_run(get_console(), found)
