"""Completion of names in a shell: rules, networks, data sets, and whatever else plugins supply."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import typer

Completions = list[tuple[str, str]]
_VARIABLE = "_LOCALRULES_COMPLETE"


def is_asked() -> bool:
    """Whether a shell asks for completions, or for the script that asks for them."""
    return bool(os.environ.get(_VARIABLE))


def answer(command: Any) -> int:
    """Print what the shell asks for.

    Args:
        command: The whole command line, as typer makes it.

    Returns:
        The exit code.
    """
    try:
        command.main(prog_name="localrules", complete_var=_VARIABLE)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def names_of(kind: str, *, separator: str = "") -> Callable[[typer.Context, str], Completions]:
    """The completion of an option or argument that takes names.

    Args:
        kind: One of :data:`~localrules.registry.entries.KINDS`.
        separator: What stands between several names; empty where there is one.
    """

    def complete(ctx: typer.Context, incomplete: str) -> Completions:
        before, found, _ = incomplete.rpartition(separator) if separator else ("", "", incomplete)
        return [(f"{before}{found}{name}", summary) for name, summary in _entries(kind, ctx)]

    return complete


def _entries(kind: str, ctx: typer.Context) -> Completions:
    """Names and summaries; none where a plugin file that was named cannot be loaded: a shell shows no errors."""
    from localrules.cli.options import load_registry

    try:
        registry = load_registry(ctx.params.get("plugin"), ctx.params.get("no_plugin"))
    except Exception:
        return []
    return [(item.entry.name, item.entry.summary) for item in registry.entries(kind) if item.status == "ok"]
