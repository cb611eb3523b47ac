"""Trackers watch a run and have no power over it."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path

import pytest
from helpers.tiny_runs import TINY, command, localrules, only_run, start_process, train

TRACKERS = """
from localrules import Tracker

class Broken(Tracker):
    def on_log(self, row):
        print("this tracker prints")
        raise RuntimeError("its disk is full\\nand it says so in two lines")

class Unborn(Tracker):
    def __init__(self, config):
        raise ValueError("no server")

TRACKERS = {"broken": Broken, "unborn": Unborn}
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "trackers.py"
    file.write_text(TRACKERS)
    return file


@pytest.fixture(autouse=True)
def _no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))


def trackers_of(out: Path) -> dict[str, dict[str, object]]:
    return dict(tomllib.loads((only_run(out) / "config.toml").read_text()).get("trackers", {}))


def test_a_tracker_that_fails_is_reported_in_one_line_and_training_goes_on(plugin: Path, tmp_path: Path) -> None:
    words = ["run", "--rule", "hsic", *TINY, "--out", str(tmp_path / "runs"), "--json"]
    words += ["--plugin", str(plugin), "--track", "broken", "--track", "unborn"]
    process = start_process(command, words, tmp_path / "said.err")
    process.join()
    assert process.exitcode == 0
    assert json.loads((tmp_path / "said.out").read_text())["status"] == "done"
    errors = (tmp_path / "said.err").read_text()
    assert "this tracker prints" in errors
    warned = [line for line in errors.splitlines() if "Warning" in line]
    assert warned == [
        "Warning: tracker 'unborn' is left out of this run: Unborn failed: ValueError: no server "
        f"({plugin}, line 11 (in Unborn.__init__))",
        "Warning: Broken failed in on_log and is left out of the rest of this run: "
        "RuntimeError: its disk is full and it says so in two lines",
    ]
    assert "Traceback" not in errors
    assert "warnings.warn" not in errors


def test_trackers_change_no_bits(tmp_path: Path) -> None:
    without = train(tmp_path / "without", "--rule", "hsic")
    with_one = train(tmp_path / "with", "--rule", "hsic", "--track", "tensorboard")
    assert with_one["weights_sha256"] == without["weights_sha256"]
    assert list(Path(with_one["run_dir"]).glob("tensorboard/*"))


def test_wandb_is_off_unless_asked_for(tmp_path: Path) -> None:
    train(tmp_path, "--rule", "hsic", "--steps", "1")
    assert trackers_of(tmp_path) == {}


def test_wandb_off_wins_over_a_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[trackers.wandb]\nmode = "online"\n')
    train(tmp_path / "runs", "--rule", "hsic", "--steps", "1", "--config", file, "--wandb", "off")
    assert trackers_of(tmp_path / "runs") == {}


def test_options_of_a_tracker_are_set_by_its_name(tmp_path: Path) -> None:
    words = ["--rule", "hsic", "--steps", "1", "--wandb", "offline", "--set", "wandb.media=true"]
    train(tmp_path / "runs", *words, "--set", "wandb.tags=['a','b']")
    assert trackers_of(tmp_path / "runs")["wandb"] == {"mode": "offline", "media": True, "tags": ["a", "b"]}


@pytest.mark.parametrize("option", ["wandb.project=x", "trackers.wandb.project=x", "trackers={wandb={}}"])
def test_an_option_alone_starts_no_tracker(tmp_path: Path, option: str) -> None:
    said = localrules("run", "--rule", "hsic", *TINY, "--set", option, "--out", tmp_path / "runs", "--json")
    assert said.code == 2
    assert said.error["what"] == "tracker 'wandb' is given options and is not on"
    assert option in said.error["where"]
    assert not (tmp_path / "runs").exists()


def test_options_of_its_tracker_are_repeated_where_a_run_is_continued(tmp_path: Path) -> None:
    option = ["--set", "trackers.tensorboard.charts_every=2.0"]
    train(tmp_path / "runs", "--rule", "hsic", "--track", "tensorboard", *option)
    words = ["run", "--resume", only_run(tmp_path / "runs"), "--json"]
    assert localrules(*words, *option).code == 0
    said = localrules(*words, "--set", "trackers.wandb.media=true")
    assert (said.code, said.error["what"]) == (2, "tracker 'wandb' is given options and is not on")


@pytest.mark.parametrize(
    "words",
    [
        ["compare", "--rules", "local-ce,pred", "--seeds", "1"],
        ["sweep", "--rule", "local-ce", "--trials", "2", "--param", "optimizer.lr=0.01,0.02"],
    ],
    ids=["compare", "sweep"],
)
def test_a_tracker_watches_each_of_many_runs(words: list[str], tmp_path: Path) -> None:
    tracked = ["--track", "tensorboard", "--set", "tensorboard.charts_every=2.0"]
    said = localrules(*words, *TINY, *tracked, "--out", tmp_path / "out", "--json")
    assert said.code == 0, said.out
    assert len({*tmp_path.glob("out/**/tensorboard")}) == 2


def test_a_tracker_is_not_both_on_and_off(tmp_path: Path) -> None:
    words = ["--wandb", "off", "--track", "wandb", "--out", tmp_path / "runs", "--json"]
    assert localrules("run", "--rule", "hsic", *TINY, *words).code == 2
    assert not (tmp_path / "runs").exists()


def test_a_tracker_by_no_known_name_makes_no_folder(tmp_path: Path) -> None:
    said = localrules("run", "--rule", "hsic", *TINY, "--track", "wandbb", "--out", tmp_path / "runs", "--json")
    assert said.code == 2
    assert "'wandb'" in said.error["fix"]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["run", "dry run"])
def test_a_tracker_whose_package_is_missing_ends_the_command_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    find = importlib.util.find_spec

    def find_others(name: str, *rest: str) -> object:
        return None if name == "tensorboard" else find(name, *rest)

    monkeypatch.setattr("importlib.util.find_spec", find_others)
    said = localrules(
        "run", "--rule", "hsic", *TINY, "--track", "tensorboard", "--out", tmp_path / "runs", "--json", *more
    )
    assert said.code == 2
    assert "pip install 'localrules[tensorboard]'" in said.error["fix"]
    assert not (tmp_path / "runs").exists()


def test_histograms_that_nobody_receives_are_reported_at_the_start(tmp_path: Path) -> None:
    said = localrules("run", "--rule", "local-ce", *TINY, "--diagnose", "histograms", "--out", tmp_path)
    assert said.code == 0
    assert said.err.count("histograms are measured and kept nowhere") == 1
