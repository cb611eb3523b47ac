"""Options that every command shares, defined once. They may stand anywhere on the line, also before the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from localrules.plugins import Registry

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


def load_registry(plugin: list[Path] | None, no_plugin: list[str] | None) -> Registry:
    """The registry that ``--plugin`` and ``--no-plugin`` ask for."""
    return Registry.load(files=plugin, block=no_plugin)


def shared_last(arguments: list[str]) -> list[str]:
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
    return [*words, *shared, *tail]


def wants_json(arguments: list[str]) -> bool:
    """Whether the answer must be JSON; read from the bare words, since a line that cannot be parsed has one, too."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--json" in arguments[:end]
