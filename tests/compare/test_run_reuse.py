"""Which finished run serves for one that is asked for: whatever it is watched by, wherever its data lie."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.comparisons import compare, run_folders
from helpers.older_runs import remove_setting
from helpers.tiny_runs import MLP, tiny_csv

from localrules.comparison import execute as runs
from localrules.comparison import run_record
from localrules.comparison.plan import PlannedRun
from localrules.comparison.results import group_by_config
from localrules.config.schema import OptimizerConfig, ScheduleConfig
from localrules.config.settings import Settings
from localrules.engine.resolve import resolve_run
from localrules.registry.registry import Registry
from localrules.tracking.records import read_config, write_config

pytestmark = pytest.mark.slow

REGISTRY = Registry.load(allow=[])
SHORT = [
    *MLP,
    "--set",
    "plots=false",
    "--batch-size",
    "32",
    "--threads",
    "1",
    "--steps",
    "3",
    "--data",
    "fer2013",
    "--data-path",
]


class Started(Exception):
    """A run was started."""


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(*_: object, **__: object) -> Any:
        raise Started

    monkeypatch.setattr(run_record, "start", started)
    monkeypatch.setattr(run_record, "resume", started)


def asked(folder: Path, **changes: object) -> PlannedRun:
    """A run that is like one that is there, but for some settings."""
    found = run_record.read_run_record(folder)
    known = (found.record["environment"]["supplied_by"], found.record["trained_on"]["fingerprint"])
    changed = Settings.from_tree({**found.config.to_dict(), **changes})
    return PlannedRun(found.rule, resolve_run(changed, REGISTRY), *known)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    "changes",
    [
        {"trackers": {"wandb": {"mode": "offline"}}},
        {"log_every": 1},
        {"checkpoint_every": 2},
        {"eval_batch_size": 7},
        {"plots": True},
        {"diagnostics": ("gradient",)},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_no_result_makes_no_other_run(done: Path, changes: dict[str, object]) -> None:
    folder = run_folders(done)[0]
    said: list[str] = []
    ((found,), _) = runs.run_all([asked(folder, **changes)], done / "runs", REGISTRY, log=said.append)
    assert found.folder == folder
    assert said[0].endswith("done before")


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 11},
        {"threads": 2},
        {"precision": "bf16"},
        {"batch_size": 31},
        {"steps": 6},
        {"holdout_fraction": 0.1},
        {"tta_flip": True},
        {"channels_last": False},
        {"optimizer": OptimizerConfig(lr=0.5)},
        {"schedule": ScheduleConfig(name="constant")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_changes_a_result_or_a_metric_makes_another(done: Path, changes: dict[str, object]) -> None:
    with pytest.raises(Started):
        runs.run_all([asked(run_folders(done)[0], **changes)], done / "runs", REGISTRY)


@pytest.mark.usefixtures("no_training")
def test_one_that_is_not_done_goes_on_only_as_it_was_started(copied: Path) -> None:
    folder = run_folders(copied)[0]
    planned = asked(folder, log_every=1)
    (folder / "summary.json").unlink()
    said: list[str] = []
    with pytest.raises(Started):
        runs.run_all([planned], copied / "runs", REGISTRY, log=said.append)
    assert not said[0].endswith("goes on")


@pytest.mark.usefixtures("no_training")
def test_one_that_is_not_done_goes_on_whatever_tags_it_would_have_now(copied: Path) -> None:
    folder = run_folders(copied)[0]
    record = read_config(folder)
    record["trackers"] = {"wandb": {"mode": "offline", "tags": ["one"]}}
    write_config(folder, record)
    planned = asked(folder, trackers={"wandb": {"mode": "offline", "tags": ["one", "other"]}})
    (folder / "summary.json").unlink()
    said: list[str] = []
    with pytest.raises(Started):
        runs.run_all([planned], copied / "runs", REGISTRY, log=said.append)
    assert said[0].endswith("goes on")


def test_data_that_were_moved_are_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, path = tmp_path / "out", tiny_csv(tmp_path / "fer2013.csv", train=70, valid=35)
    before = compare(out, seeds=1, setting=[*SHORT, str(path)])
    assert before.code == 0, before.out
    moved = path.rename(tmp_path / "elsewhere.csv")
    monkeypatch.setattr(run_record, "start", None)
    said = compare(out, "--wandb", "offline", "--set", "log_every=3", seeds=1, setting=[*SHORT, str(moved)])
    assert said.code == 0, said.out
    assert said.err.count("done before") == 2
    assert said.out == before.out
    ours, _ = json.loads((out / "comparison.json").read_text())["rows"]
    assert ours["difference"] is not None  # images were asked about again, where they lie now


def test_other_data_are_another_comparison(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = tiny_csv(tmp_path / "fer2013.csv", train=70, valid=35)
    assert compare(out, seeds=1, setting=[*SHORT, str(path)]).code == 0
    tiny_csv(path, train=70, valid=28)
    said = compare(out, seeds=1, setting=[*SHORT, str(path)])
    assert said.error["what"] == "the folder holds another comparison"
    assert said.error["why"] == "data: other images or labels than its runs had"


@pytest.mark.usefixtures("no_training")
def test_a_run_of_a_version_that_lacked_a_setting_serves_where_the_default_is_asked_for(
    done: Path, tmp_path: Path
) -> None:
    wanted = [asked(folder) for folder in run_folders(done)]
    copies = Path(shutil.copytree(done, tmp_path / "old")) / "runs"
    for folder in copies.iterdir():
        remove_setting(folder, "optimizer.nesterov")
    records, _ = runs.run_all(wanted, copies, REGISTRY)
    newer = [run_record.read_run_record(folder) for folder in run_folders(done)]
    assert len(group_by_config([*records, *newer])) == len(group_by_config(newer))  # no settings tell them apart
