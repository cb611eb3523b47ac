"""The commands that a command suggests at its end work as they are, with the same settings."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from pathlib import Path

import pytest
from helpers.snippets import ROOT
from helpers.tiny_runs import FACES, MLP, localrules

from localrules.callbacks.base import RunInfo
from localrules.utils.text import command_line

pytestmark = pytest.mark.slow

SHORT = ["--batch-size", "35", "--steps", "2", "--threads", "1", "--set", "plots=false"]
SETTINGS = [*FACES, *MLP, *SHORT]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a plugin, both with a space in their names."""
    place = tmp_path / "of mine"
    place.mkdir()
    shutil.copy(ROOT / "examples" / "myrule.py", place / "my rule.py")
    monkeypatch.chdir(place)
    return place


def suggested(text: str) -> list[list[str]]:
    """The words of the commands that stand under a reason."""
    return [shlex.split(line)[1:] for line in re.findall(r"^  \S.*:\n    (localrules .*)$", text, re.MULTILINE)]


def settings(config: Path) -> dict[str, object]:
    found = tomllib.loads(config.read_text())
    return {name: found[name] for name in ("steps", "batch_size", "seed", "optimizer", "model", "data", "threads")}


def test_those_of_a_run_with_a_plugin(folder: Path) -> None:
    flags = ["--plugin", "my rule.py", "--rule", "prototypes", "--seed", "3", "--lr", "0.02", "--out", "other runs"]
    done = localrules("run", *flags, *SETTINGS)
    look, again = suggested(done.err + done.out)
    assert localrules(*look).code == 0
    (first,) = (folder / "other runs").iterdir()
    assert localrules(*again).code == 0
    (second,) = set((folder / "other runs").iterdir()) - {first}
    assert settings(first / "config.toml") == settings(second / "config.toml")
    assert settings(first / "config.toml")["seed"] == 3


def test_that_of_a_comparison_adds_seeds(folder: Path) -> None:
    flags = ["--plugin", "my rule.py", "--rules", "prototypes,backprop", "--seeds", "1", "--out", "pages of mine"]
    said = localrules("compare", *flags, *SETTINGS)
    assert said.code == 0, said.err
    (more,) = suggested(said.out)
    assert more[more.index("--seeds") + 1] == "3"
    done = localrules(*more)
    assert done.code == 0, done.err
    assert len(list((folder / "pages of mine" / "runs").iterdir())) == 6
    assert suggested(done.out) == []


def test_that_of_a_sweep_trains_by_its_best_settings(folder: Path) -> None:
    pytest.importorskip("optuna")
    flags = ["--plugin", "my rule.py", "--rule", "prototypes", "--param", "optimizer.lr=0.01..0.1", "--set", "seed=7"]
    said = localrules("sweep", *flags, "--trials", "1", "--out", "a search", *SETTINGS)
    (best,) = suggested(said.out)
    page = (folder / "a search" / "index.html").read_text().replace("&#39;", "'")
    assert command_line([*best[:-3], folder / best[-3]], [folder / "my rule.py"]) in page
    assert localrules(*best).code == 0
    (done,) = (folder / "runs").iterdir()
    (trial,) = (folder / "a search" / "runs").iterdir()
    assert settings(done / "config.toml") == settings(trial / "config.toml")


@pytest.mark.parametrize(("place", "file"), [("runs/a", "mine.py"), ("/somewhere/runs/a", "{here}/mine.py")])
def test_a_command_that_names_an_absolute_folder_works_anywhere(place: str, file: str, folder: Path) -> None:
    info = RunInfo.__new__(RunInfo)
    object.__setattr__(info, "plugin_files", ("mine.py",))
    wanted = shlex.join(["localrules", "run", "--resume", place, "--plugin", file.format(here=folder)])
    assert info.command("run --resume", Path(place)) == wanted
