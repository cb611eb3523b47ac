"""The command line as a whole: it finds the command's module, runs it, and turns every end into an exit code."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import typer

from localrules.cli import completion
from localrules.cli.early_exit import refuse_early_exit
from localrules.cli.listing import ListCommand
from localrules.cli.options import normalize_argv, wants_json
from localrules.cli.output import only_json_on_stdout, plain_warnings, report_error
from localrules.cli.process_end import end_process
from localrules.cli.streams import discard_output, usable_streams
from localrules.cli.work_display import show_work
from localrules.errors import LocalRulesError, UsageError, suggest_names
from localrules.utils.global_state import keep_streams
from localrules.utils.launch_env import external_launch, is_main_process
from localrules.utils.progress import show_progress

COMMANDS = tuple(
    name
    for name in (
        "run",
        "eval",
        "predict",
        "export",
        "compare",
        "audit",
        "reproduce",
        "sweep",
        "bench",
        "dashboard",
        "rules",
        "models",
        "data",
        "plugins",
        "env",
    )
    if find_spec(f"localrules.cli.{name}")
)
"""Each is the module of that name in this folder, with a typer app named ``app``."""

_UsageErrorOfTyper: Any = typer.BadParameter.__base__  # it has no public name, and has moved between versions


class LazyGroup(ListCommand):
    """Imports a command's module when the command is named, or when help lists them all."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"localrules.cli.{cmd_name}").app
        alone = typer.Typer()
        alone.add_typer(module, name=cmd_name if module.registered_callback else None)
        return typer.main.get_group(alone).commands[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if ctx.resilient_parsing and name not in COMMANDS:  # a shell completes a line that may be wrong
            return None, None, args
        if name in COMMANDS and name != "run" and (launch := external_launch()):
            raise UsageError(
                f"localrules {name} works in one process",
                where=f"started by {launch.launcher} as one of {launch.count} processes",
                why="each of them would do the same work, and write to the same place",
                fix=f"start it without {launch.launcher}; only localrules run trains in several processes",
            )
        if name in COMMANDS or name.startswith("-"):
            return super().resolve_command(ctx, args)
        raise UsageError(
            f"there is no command {name!r}",
            where=f"localrules {name}",
            why=f"the commands are {', '.join(COMMANDS)}",
            fix=f"{suggest_names(name, list(COMMANDS))} (localrules --help)",
        )


app = typer.Typer(
    cls=LazyGroup,
    pretty_exceptions_enable=False,
    epilog=(
        "A first run: [bold]localrules run --rule hsic --model dense_fpn_small --data faces[/bold]\n\n"
        "Its control: [bold]localrules run --rule backprop --model dense_fpn_small --data faces[/bold]\n\n"
        "Every command explains itself: [bold]localrules run --help[/bold]"
    ),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        import localrules

        typer.echo(f"localrules {localrules.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def localrules(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Train PyTorch networks with local learning rules.

    One model, one data set, one command; the rule is a word.

    Each layer learns from what it sees itself, and no error is sent back through the network.
    """
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The words after ``localrules``; those of the process when None.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong use.
    """
    # Of torch's own warnings, such as the profiler's: they would stand amid the progress of a run.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    if completion.is_asked():
        return completion.answer(typer.main.get_command(app))
    code = _run(normalize_argv(sys.argv[1:] if arguments is None else arguments))
    if arguments is None:
        end_process(code)
    return code


def _run(words: list[str]) -> int:
    as_json = wants_json(words) and is_main_process()
    with (
        usable_streams(),
        only_json_on_stdout(as_json),
        keep_streams(),
        plain_warnings(),
        refuse_early_exit(),
        show_progress(show_work) if is_main_process() else nullcontext(),
    ):
        try:
            with typer.main.get_command(app).make_context("localrules", words) as context:
                context.command.invoke(context)
            if not as_json:  # else it is standard error, whose reader may leave
                sys.stdout.flush()
        except typer.Exit as exit_:
            return exit_.exit_code
        except (KeyboardInterrupt, typer.Abort):
            return report_error(LocalRulesError("interrupted"), as_json)
        except BrokenPipeError:
            discard_output()
            return 1
        except _UsageErrorOfTyper as error:
            return report_error(_as_usage_error(error, words), as_json)
        except BaseException as error:  # SystemExit of a plugin, too: it must not end a command as if it were done
            if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):  # of rich
                discard_output()
                return 1
            return report_error(error, as_json)
    return 0


def _as_usage_error(error: Any, words: list[str]) -> UsageError:
    """Typer's complaint about the line, with the nearest option where one is unknown."""
    command = error.ctx.command_path if error.ctx else _command_path(words)
    fix = f"see {command} --help"
    if error.ctx and type(error).__name__ == "NoSuchOption":
        name = error.option_name
        options = [option for param in error.ctx.command.get_params(error.ctx) for option in param.opts]
        return UsageError(
            f"there is no option {name}",
            where=command,
            why="the command does not know it",
            fix=f"{suggest_names(name, options)} ({fix})",
        )
    what, _, why = error.format_message().rstrip(".").partition(": ")
    return UsageError(what, where=command, why=why, fix=fix)


def _command_path(words: list[str]) -> str:
    """The command that a line begins with: typer reports an option without its value without a context."""
    found: Any = typer.main.get_command(app)
    path = ["localrules"]
    for word in words:
        found = found.get_command(None, word) if hasattr(found, "get_command") else None
        if found is None:
            break
        path.append(word)
    return " ".join(path)
