"""Output of the command line: tables for people, one JSON document for scripts, errors that help."""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from typing import TYPE_CHECKING, Any, TextIO

from localrules.cli.streams import discard_output
from localrules.errors import LocalRulesError, describe_exception
from localrules.utils.disk_errors import disk_error
from localrules.utils.memory_errors import size_error
from localrules.utils.serialization import without_nonfinite
from localrules.utils.text import without_escape_codes

if TYPE_CHECKING:
    from rich.console import Console

_document_stream: TextIO | None = None


@contextmanager
def only_json_on_stdout(wanted: bool) -> Iterator[None]:
    """Keep standard output for :func:`print_json` alone: whatever else prints, a plugin included, goes to stderr.

    So does what libraries and child processes write to file descriptor 1.
    """
    global _document_stream
    if not wanted:
        yield
        return
    with ExitStack() as undo:
        _document_stream = sys.stdout
        undo.callback(_forget_document_stream)
        if _is_descriptor_1(sys.stdout):
            sys.stdout.flush()
            kept = os.dup(1)
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, 1)
            _document_stream = open(  # noqa: SIM115
                kept, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors, closefd=False
            )
            os.dup2(2, 1)
            undo.callback(_close, _document_stream)
            undo.callback(_flush, sys.stdout)  # what somebody wrote to sys.__stdout__
        undo.enter_context(redirect_stdout(sys.stderr))
        yield


def _forget_document_stream() -> None:
    global _document_stream
    _document_stream = None


def _close(stream: TextIO) -> None:
    with suppress(OSError):  # its reader may have gone
        stream.close()


def _flush(stream: TextIO) -> None:
    with suppress(OSError, ValueError):
        stream.flush()


def _is_descriptor_1(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 1
    except (OSError, ValueError, AttributeError):
        return False


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show a warning as one line for people, without the line of code that gave it."""
    before = warnings.formatwarning
    warnings.formatwarning = _plain_warning
    try:
        yield
    finally:
        warnings.formatwarning = before


def _plain_warning(message: Warning | str, *where: Any, **more: Any) -> str:
    return f"Warning: {' '.join(without_escape_codes(str(message)).split())}\n"


def print_json(document: Any) -> None:
    """Print the command's JSON document. Numbers that JSON does not have (NaN, infinities) become null."""
    stream = _document_stream or sys.stdout
    plain = without_nonfinite(document)
    text = json.dumps(plain, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(plain, indent=2, default=str)
    stream.write(text + "\n")
    stream.flush()


def get_console() -> Console:
    """The console for people; under ``--json`` it writes to standard error like all else."""
    from localrules.utils.console import TableConsole

    return TableConsole()


def status(line: str) -> None:
    """Print a line about progress on standard error, as it is."""
    from localrules.utils.console import DetachableConsole

    DetachableConsole(stderr=True).print(line, markup=False, soft_wrap=True)


def report_error(error: BaseException, as_json: bool) -> int:
    """Report an error, in JSON on standard output or laid out on standard error.

    Returns:
        The exit code: 2 for wrong use, else 1.
    """
    if os.environ.get("LOCALRULES_DEBUG", "") not in ("", "0"):
        traceback.print_exception(error, file=sys.stderr)
    shown = (
        error if isinstance(error, LocalRulesError) else size_error(error) or disk_error(error) or _unexpected(error)
    )
    try:
        if as_json:
            print_json({"error": shown.as_dict()})
            return shown.exit_code
    except OSError:  # standard output is full or closed
        discard_output()
    with suppress(OSError):
        _print_error(shown)
    return shown.exit_code


def _unexpected(error: BaseException) -> LocalRulesError:
    frames = traceback.extract_tb(error.__traceback__)
    return LocalRulesError(
        "something went wrong that localrules did not foresee",
        where=f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else "",
        why=describe_exception(error),
        fix="set LOCALRULES_DEBUG=1 for the traceback, and report it",
    )


def _print_error(error: LocalRulesError) -> None:
    from rich.table import Table
    from rich.text import Text

    from localrules.utils.console import DetachableConsole

    grid = Table.grid(padding=(0, 1))
    grid.add_column(style="bold red", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("Error", Text(error.what, style="bold"))
    for name, text in list(error.as_dict().items())[1:]:
        if text:
            grid.add_row(Text(f"  {name}", style="dim"), Text(text, style="green" if name == "fix" else ""))
    console = DetachableConsole(stderr=True)
    if not console.is_terminal and "COLUMNS" not in os.environ:  # a command in a log is copied as a line
        console.width = max(console.width, 8 + max(map(len, str(error).splitlines())))
    console.print(grid)
