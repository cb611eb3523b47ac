"""Every end of a command is an exit code, and every error is four plain parts, never a traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localrules.cli import main
from localrules.cli.options import normalize_argv
from localrules.cli.output import print_json
from localrules.errors import LocalRulesError
from localrules.registry.registry import Registry


def raising(error: BaseException) -> Any:
    def load(**_: object) -> Registry:
        raise error

    return load


def error_of(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"error"}
    assert set(document["error"]) == {"what", "where", "why", "fix"}
    return document["error"]


@pytest.mark.parametrize(
    ("line", "what", "fix"),
    [
        (["rulse"], "there is no command 'rulse'", "did you mean 'rules'"),
        (["rules", "--no-plugn", "x"], "there is no option --no-plugn", "did you mean '--no-plugin'"),
        (["--versoin"], "there is no option --versoin", "did you mean '--version'"),
        (["rules", "shwo", "hsic"], "No such command 'shwo'", "see localrules rules --help"),
        (["rules", "show"], "Missing argument 'NAME'", "see localrules rules show --help"),
        (["rules", "show", "hsic", "more"], "Got unexpected extra argument", "see localrules rules show --help"),
    ],
)
def test_wrong_use_is_exit_code_2_with_what_to_do(
    capsys: pytest.CaptureFixture[str], line: list[str], what: str, fix: str
) -> None:
    assert main([*line, "--json"]) == 2
    error = error_of(capsys)
    assert error["what"].startswith(what)
    assert error["where"].startswith("localrules")
    assert fix in error["fix"]


def test_a_command_in_an_error_is_one_line_where_nobody_reads_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    command = f"localrules run --resume /data/{'long-' * 40}name"
    monkeypatch.setattr(Registry, "load", raising(LocalRulesError("the run has lost rank 1", fix=command)))
    assert main(["rules", "list"]) == 1
    assert f"  fix {command}" in capsys.readouterr().err


def test_errors_for_people_are_on_standard_error_with_their_four_parts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "show", "hsik"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    for part in ("Error", "there is no rule 'hsik'", "where", "why", "fix", "did you mean 'hsic'"):
        assert part in shown.err
    assert "Traceback" not in shown.err


def test_text_in_an_error_is_not_taken_for_markup(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "load", raising(LocalRulesError("no [bold]luck[/bold]", why="[/]")))
    assert main(["rules"]) == 1
    assert "no [bold]luck[/bold]" in capsys.readouterr().err


def test_an_unforeseen_exception_is_one_message_with_a_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCALRULES_DEBUG", raising=False)
    monkeypatch.setattr(Registry, "load", raising(ZeroDivisionError("by zero")))
    assert main(["rules", "--json"]) == 1
    shown = capsys.readouterr()
    error = json.loads(shown.out)["error"]
    assert error["why"] == "ZeroDivisionError: by zero"
    assert "LOCALRULES_DEBUG=1" in error["fix"]
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("command", ["eval", "audit", "compare"])
def test_a_link_to_itself_is_wrong_use(command: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert main([command, str(tmp_path / "loop"), "--json"]) == 2
    assert "loop" in error_of(capsys)["why"]


def test_debug_shows_the_traceback_beside_the_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALRULES_DEBUG", "1")
    monkeypatch.setattr(Registry, "load", raising(ZeroDivisionError("by zero")))
    assert main(["rules", "--json"]) == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["error"]["why"] == "ZeroDivisionError: by zero"
    assert "Traceback" in shown.err


def test_ctrl_c_ends_a_command_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "load", raising(KeyboardInterrupt()))
    assert main(["rules"]) == 1
    shown = capsys.readouterr()
    assert "interrupted" in shown.err
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("line", ["rules", "plugins --json", "--help"])
def test_a_reader_that_leaves_early_is_not_an_error(line: str) -> None:
    command = f"{sys.executable} -m localrules {line} | true"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_json_has_no_numbers_that_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": float("nan"), "top": [float("inf"), 1.5], 3: None})
    assert json.loads(capsys.readouterr().out) == {"loss": None, "top": [None, 1.5], "3": None}


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("--plugin a.py rules show x", "rules show x --plugin a.py"),
        ("rules --json show x", "rules show x --json"),
        ("--no-plugin=b --json run --rule x", "run --rule x --no-plugin=b --json"),
        ("run --rule x --json", "run --rule x --json"),
        ("predict r --json -- --plugin", "predict r --json -- --plugin"),
        ("rules --plugin", "rules --plugin"),
    ],
)
def test_shared_options_may_stand_anywhere(line: str, meant: str) -> None:
    assert normalize_argv(line.split()) == meant.split()
