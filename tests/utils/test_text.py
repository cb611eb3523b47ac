"""Text of plugins and file names, as terminals and files take it."""

from __future__ import annotations

import io
import os
import subprocess

import pytest
from rich.table import Table

from localrules.utils.console import PlainConsole, TableConsole
from localrules.utils.text import has_surrogates, printable, shell_quote, without_escape_codes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain \u00e9\n\ttext", "plain \u00e9\n\ttext"),
        ("a\x1b[31mred\x1b[0m", "ared"),
        ("\x1b]0;title\x07hi\x1b]8;;http://x\x1b\\there", "hithere"),
        ("\x1b[2J\x1b[?25l\x9b5mbell\x07\x08", "5mbell"),
        ("\x1b", ""),
    ],
)
def test_escape_codes_are_taken_out(text: str, shown: str) -> None:
    assert without_escape_codes(text) == shown


def test_bytes_that_are_not_utf8_become_escapes() -> None:
    assert has_surrogates("l\udcfcn")
    assert not has_surrogates("l\u00fcn")
    assert printable("l\udcfcn \u00fc") == "l\\xfcn \u00fc"


def test_a_console_prints_no_escape_code_of_others(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("name")
    table.add_row("mine\x1b[2J")
    console = PlainConsole()
    console.file = io.StringIO()
    console.print(table)
    console.print("[bold]\x1b[31mred[/bold]")
    shown = console.file.getvalue()
    assert "mine" in shown
    assert "red" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("columns", ["20", "40", "200"])
def test_a_table_is_whole_on_a_narrow_terminal(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    table = Table("name", "what it is", "from")
    table.add_row("difference-target-propagation", "A rule of targets", "localrules 0.1.0")
    console = TableConsole()
    console.file = io.StringIO()
    console.print(table)
    shown = console.file.getvalue()
    assert "\u2026" not in shown
    assert "difference-target-propagation" in shown


@pytest.mark.parametrize(
    "name", [b"plain", b"two words", b"it's", b"caf\xe9", b"\xff1", b"a\nb", b"\xfc'\\ $x", "ü".encode()]
)
def test_a_quoted_word_can_be_pasted(name: bytes) -> None:
    quoted = shell_quote(os.fsdecode(name))
    assert quoted.isprintable()
    quoted.encode()
    done = subprocess.run(["bash", "-c", f"printf %s {quoted}"], capture_output=True, check=True)
    assert done.stdout == name
