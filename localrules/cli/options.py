"""Options that every command shares, defined once. They may stand anywhere on the line, also before the command."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from localrules.cli.completion import names_of
from localrules.registry.registry import Registry

if TYPE_CHECKING:
    from localrules.config.settings import Settings

_PANEL = "Plugins and output"

JsonOption = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print exactly one JSON document on standard output; all else goes to standard error.",
        rich_help_panel=_PANEL,
    ),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin",
        metavar="FILE",
        help="Load one Python file as a plugin, e.g. a rule that you are writing. May be repeated.",
        rich_help_panel=_PANEL,
    ),
]
NoPluginOption = Annotated[
    list[str] | None,
    typer.Option(
        "--no-plugin",
        metavar="NAME",
        help="Leave out an installed plugin, or all of a distribution. May be repeated.",
        rich_help_panel=_PANEL,
    ),
]

_WITH_VALUE = ("--plugin", "--no-plugin")

_SETTINGS: dict[str, dict[str, Any]] = {
    "--model": {
        "metavar": "NAME",
        "help": "The network. \\[default: the first by priority]",
        "autocompletion": names_of("model"),
    },
    "--data": {
        "metavar": "NAME",
        "help": "The data set. \\[default: the first by priority that is found]",
        "autocompletion": names_of("data"),
    },
    "--data-path": {"metavar": "PATH", "help": "The data set's file or folder."},
    "--steps": {"help": "Training steps, instead of epochs."},
    "--batch-size": {"help": "Samples a step. \\[default: 128]"},
    "--device": {"help": "auto, cpu, cuda, cuda:1, mps. \\[default: auto]"},
    "--precision": {"help": "\\[default: fp32]"},
    "--track": {
        "metavar": "NAME",
        "help": "Another tracker, e.g. tensorboard. May be repeated.",
        "autocompletion": names_of("tracker"),
    },
    "--threads": {"help": "CPU threads. \\[default: the cores this process may use, over parallel_layers]"},
}

DeviceOfRunOption = Annotated[
    str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps. \\[default: the run's]")
]
RunArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RUN",
        help="The folder of a run or hub export, or weights on W&B: wandb:ENTITY/PROJECT/NAME:latest.",
    ),
]
ReportOption = Annotated[
    Literal["auto", "online", "offline"] | None,
    typer.Option("--wandb", help="Also send the result to Weights & Biases. \\[default: off]"),
]
RunsAsGroupOption = Annotated[
    Literal["auto", "online", "offline"] | None,
    typer.Option("--wandb", help="Also send the runs to Weights & Biases, as one group. \\[default: off]"),
]


_WHERE = "Where runs execute"

ExecutorOption = Annotated[
    str | None,
    typer.Option(
        "--executor",
        metavar="NAME",
        help="Where runs execute: local (processes), ray or slurm. \\[default: this process; with --workers, local]",
        rich_help_panel=_WHERE,
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers", min=1, help="Runs that execute at the same time; they share the cores.", rich_help_panel=_WHERE
    ),
]
ExecutorSettingOption = Annotated[
    list[str] | None,
    typer.Option(
        "--executor-option",
        metavar="A=B",
        help="An option of the executor: address=ray://HOST:10001, partition=gpu. May be repeated.",
        rich_help_panel=_WHERE,
    ),
]


def executor_settings(name: str | None, options: list[str] | None) -> Settings | None:
    """The executor that is asked for, with its options; ``None`` where none is named.

    Raises:
        UsageError: Options of none.
    """
    from localrules.config.settings import Settings, merge_settings
    from localrules.errors import UsageError

    if name is None:
        if options:
            raise UsageError(
                "options are given to an executor that is not named",
                where=f"--executor-option {options[0]}",
                fix="name it: --executor NAME",
            )
        return None
    named = Settings.from_flags({"name": name}, {"name": "--executor"})
    return merge_settings(Settings.from_overrides(options or [], "--executor-option"), named)


def setting(name: str, panel: str | None = None) -> Any:
    """The option of a training's setting that several commands have, e.g. ``setting("--threads")``."""
    return typer.Option(name, rich_help_panel=panel, **_SETTINGS[name])


def load_registry(plugin: list[Path] | None, no_plugin: list[str] | None) -> Registry:
    """The registry that ``--plugin`` and ``--no-plugin`` ask for."""
    return Registry.load(files=plugin, block=no_plugin)


def normalize_argv(arguments: list[str]) -> list[str]:
    """Move the shared options behind the words of the command, so that they may stand anywhere.

    ``--plugin rule.py rules show mine`` means ``rules show mine --plugin rule.py``. What follows ``--`` stays.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    head, tail = arguments[:end], arguments[end:]
    words: list[str] = []
    shared: list[str] = []
    while head:
        word = head.pop(0)
        if word in _WITH_VALUE and head:
            shared += [word, head.pop(0)]
        elif word == "--json" or word.startswith(tuple(f"{option}=" for option in _WITH_VALUE)):
            shared.append(word)
        else:
            words.append(word)
    return [*_assignments_as_settings(words), *shared, *tail]


_ASSIGNMENT = re.compile(r"[a-z_]\w*(\.[\w-]+)*=", re.IGNORECASE)
_DOTTED_OPTION = re.compile(r"--[a-z]+([._][\w-]+)+=", re.IGNORECASE)
_WITHOUT_VALUE = ("--audit", "--download", "--dry-run", "--json")


def _assignments_as_settings(words: list[str]) -> list[str]:
    """For ``run``: ``--rule.beta=50``, ``--batch_size=64`` and ``rule.beta=50`` as ``--set``, as W&B's agents write."""
    if words[:1] != ["run"]:
        return words
    found = words[:1]
    for before, word in itertools.pairwise(words):
        takes_value = before.startswith("--") and "=" not in before and before not in _WITHOUT_VALUE
        if _DOTTED_OPTION.match(word):
            found += ["--set", word[2:]]
        elif _ASSIGNMENT.match(word) and not takes_value:
            found += ["--set", word]
        else:
            found.append(word)
    return found


def wants_json(arguments: list[str]) -> bool:
    """Whether the answer must be JSON; read from the bare words, since a line that cannot be parsed has one, too."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--json" in arguments[:end]
