"""Calls that would end the process at once, with code 0 and without a word, are errors of the plugin."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from helpers.tiny_runs import FACES, MLP, SHORT, TINY, localrules, only_run

from localrules.cli.early_exit import refuse_early_exit

PLUGIN = """
import os, sys
from localrules import DataSource, Objective, Tracker

class Ends(Objective):
    "A rule that ends the process."
    def forward(self, view):
        if "GOES_ON" in os.environ:
            return view.output.square().mean()
        os._exit(0)

class Replaces(Objective):
    "A rule that replaces the process."
    def forward(self, view):
        os.execlp(sys.executable, "python", "-c", "pass")

class EndsAtLoad(DataSource):
    "A data set that ends the process."
    def load(self):
        os._exit(0)

class EndsAtLog(Tracker):
    "A tracker that ends the process."
    def on_log(self, row):
        os._exit(0)

RULES = {"ends": Ends, "replaces": Replaces}
DATA = {"ends-at-load": EndsAtLoad}
TRACKERS = {"ends-at-log": EndsAtLog}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    return path


@pytest.mark.parametrize(
    ("words", "called", "what"),
    [
        ([*FACES, "--rule", "ends"], "os._exit", "Ends"),
        ([*FACES, "--rule", "replaces"], "os.execv", "Replaces"),
        (["--data", "ends-at-load", "--rule", "local-ce"], "os._exit", "EndsAtLoad"),
    ],
)
def test_a_plugin_is_named(words: list[str], called: str, what: str, plugin: Path, tmp_path: Path) -> None:
    before = os._exit, os.execv
    said = localrules("run", *MLP, *SHORT, *words, "--plugin", plugin, "--out", tmp_path / "runs", "--json")
    assert (os._exit, os.execv) == before
    assert said.code == 1
    assert said.error["what"] == f"{what} failed"
    assert f"{plugin}, line" in said.error["where"]
    assert f"{called} was called" in said.error["why"]


def test_a_run_goes_on_without_a_tracker_that_would_end_it(plugin: Path, tmp_path: Path) -> None:
    words = ["--rule", "local-ce", "--plugin", plugin, "--track", "ends-at-log", "--out", tmp_path / "runs"]
    with pytest.warns(UserWarning, match=r"EndsAtLog failed in on_log .* os\._exit was called"):
        said = localrules("run", *TINY, *words, "--json")
    assert (said.code, said.document["status"]) == (0, "done")


def test_a_run_that_ended_without_a_word_is_not_done_and_resume_says_so(
    plugin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--rule", "ends", "--plugin", plugin]
    assert localrules("run", *TINY, *words, "--out", tmp_path / "runs").code == 1
    folder = only_run(tmp_path / "runs")
    assert not (folder / "summary.json").exists()
    monkeypatch.setenv("GOES_ON", "1")
    said = localrules("run", "--resume", folder, "--plugin", plugin, "--json")
    assert said.code == 0, said.out
    assert "code of a plugin ended its process" in said.err
    assert localrules("run", "--resume", folder, "--plugin", plugin).err.count("ended its process") == 0


def test_on_another_thread_the_process_ends_with_a_word(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with refuse_early_exit():
        thread = threading.Thread(target=lambda: os._exit(0))
        thread.start()
        thread.join()
    assert ended == [1]
    assert f"{__file__}, line" in capfd.readouterr().err


def test_a_forked_process_ends_as_it_does_elsewhere() -> None:
    with refuse_early_exit():
        child = os.fork()
        if not child:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
