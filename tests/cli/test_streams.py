"""Standard streams of every kind: encodings that lack characters, closed ones, and a disk that is full."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from localrules.cli import main
from localrules.cli.output import print_json
from localrules.cli.streams import usable_streams

pytestmark = pytest.mark.slow

NOT_ASCII = "L\u00f6we"  # in the references of a rule


def encoded(encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)


def content(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode(stream.encoding)


@pytest.mark.parametrize(("encoding", "shown"), [("ascii", "L\\xf6we"), ("latin-1", NOT_ASCII), ("cp1251", "L\\xf6we")])
def test_what_an_encoding_lacks_becomes_an_escape(encoding: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = encoded(encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["rules", "show", "greedy-infomax"]) == 0
    assert shown in content(stream)
    assert stream.errors == "strict", "put back"


def test_json_stays_json_in_every_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = encoded("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["rules", "show", "greedy-infomax", "--json"]) == 0
    assert NOT_ASCII in json.loads(content(stream))["reference"]


def test_a_name_that_is_not_utf8_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"image": "l\udcfcn.png"})
    assert json.loads(capsys.readouterr().out) == {"image": "l\udcfcn.png"}


def test_an_error_can_be_told_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = encoded("ascii")
    monkeypatch.setattr(sys, "stderr", stream)
    assert main(["rules", "show", "l\udcfcn\u2026"]) == 2
    assert "there is no rule" in content(stream)


@pytest.mark.parametrize("line", ["rules", "rules --json", "rules show hsik", "--help"])
def test_streams_that_are_not_there(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert main(line.split()) == (2 if "hsik" in line else 0)
    assert sys.stdout is None, "put back"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", [["rules"], ["rules", "--json"], ["rules", "show", "hsik", "--json"]])
def test_output_that_cannot_be_written_is_one_error_on_standard_error(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "wb", buffering=0) as full, io.TextIOWrapper(full, write_through=True) as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(words) == (2 if "hsik" in words else 1)
        shown = capsys.readouterr().err
        assert ("there is no rule" if "hsik" in words else "No space left on device") in shown
        assert "foresee" not in shown


@pytest.mark.skipif(sys.platform == "win32", reason="a shell of POSIX")
def test_closed_descriptors_are_not_given_to_files() -> None:
    script = "import os; from localrules.cli.streams import usable_streams\n"
    script += "with usable_streams(): print(os.open(os.devnull, os.O_RDONLY) > 2 or os._exit(3)); os._exit(0)"
    line = f"exec '{sys.executable}' -c '{script}' <&- >&- 2>&-"
    assert subprocess.run(["/bin/sh", "-c", line], check=False).returncode == 0


def test_streams_of_a_kind_that_has_no_encoding_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    with usable_streams():
        print(NOT_ASCII)
    assert stream.getvalue() == NOT_ASCII + "\n"


SPOILS = """
import os, subprocess, sys
os.write(1, b"by number\\n")
sys.__stdout__.write("by another name\\n")
subprocess.run([sys.executable, "-c", "print('by a child')"])
"""


def test_json_is_alone_on_the_descriptor_of_standard_output(tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(SPOILS)
    done = subprocess.run(
        [sys.executable, "-m", "localrules", "env", "--json", "--plugin", str(tmp_path / "plugin.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "python" in done.stdout
    assert isinstance(json.loads(done.stdout), dict)
    assert set(done.stderr.splitlines()) >= {"by number", "by another name", "by a child"}


STAYS = """
import sys
from localrules.cli import main, process_end
process_end.THREAD_SECONDS, process_end.EXIT_SECONDS = 0.2, 0.4
sys.argv = ["localrules", "plugins", "--plugin", sys.argv[1]]
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("threading.Thread(target=time.sleep, args=(100,), name='mine').start()", "the thread mine"),
        ("atexit.register(time.sleep, 100)", "an exit function"),
    ],
)
def test_what_a_plugin_leaves_running_does_not_keep_the_process(line: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(f"import atexit, threading, time\n{line}\n")
    done = subprocess.run(
        [sys.executable, "-c", STAYS, str(tmp_path / "plugin.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, "COLUMNS": "300"},
    )
    assert done.returncode == 0
    assert f"Warning: {named} of a plugin does not end" in done.stderr
    assert "plugin.py" in done.stdout
