"""The weights of the recipes: each labels images, is as small as it should be, and was scored as its table says."""

from __future__ import annotations

import csv
import importlib
import tomllib
from pathlib import Path

import pytest
from helpers.snippets import ROOT
from helpers.tiny_runs import localrules
from PIL import Image

from localrules.registry.registry import Registry
from localrules.runs.load import TrainedRun

pytestmark = pytest.mark.slow

RECORDS = ROOT / "docs" / "research" / "second_search"
WEIGHTS = ROOT / "examples" / "recipes" / "weights"
FOLDERS = sorted(path for path in WEIGHTS.iterdir() if path.is_dir())
RECIPES = {
    "control-averaged": "fer_half_backprop",
    "hsic-small-heads-averaged": "fer_half_hsic",
    "hsic-levels-averaged": "fer_half_hsic_levels",
    "hsic-levels-ce-averaged": "fer_half_hsic_levels_ce",
}
OF_TWICE_THE_LENGTH = {"control-averaged-smoothed": "fer_half_backprop"}
TWICE = "twice-"  # in front of the names of those that were trained twice as long
MOST_BYTES = 5_000_000
MOST_LOST = 0.001  # of accuracy, by half the precision


def test_there_are_weights_of_every_final_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples" / "studies")
    final = {*importlib.import_module("second_search_cases").FINAL}
    assert {folder.name for folder in FOLDERS if not folder.name.startswith(TWICE)} == set(RECIPES) == final
    longer = {path.name[len("final-") : -len("-0.npz")] for path in RECORDS.glob(f"final-{TWICE}*-0.npz")}
    assert {folder.name for folder in FOLDERS if folder.name.startswith(TWICE)} == longer


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_they_have_the_settings_of_their_recipe(folder: Path) -> None:
    run = TrainedRun.load(folder, Registry.load(allow=[]))
    name = (RECIPES | OF_TWICE_THE_LENGTH)[folder.name.removeprefix(TWICE)]
    recipe = tomllib.loads((ROOT / "examples" / "recipes" / f"{name}.toml").read_text(encoding="utf-8"))
    config = run.config.to_dict()
    for table in ("rule", "model", "optimizer", "schedule"):
        assert {**config[table], **recipe[table]} == config[table]
    times = 2 if folder.name.startswith(TWICE) else 1
    assert config["epochs"] == pytest.approx(times * recipe["epochs"], abs=0.11)
    assert [config[key] for key in ("batch_size", "ema_decay", "precision", "seed")] == [
        recipe["batch_size"], recipe["ema_decay"], "fp32", 0,
    ]  # fmt: skip


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_they_label_an_image(folder: Path, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((64, 64)).save(tmp_path / "image.png")
    said = localrules("predict", folder, tmp_path / "image.png", "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    ((ranked,),) = ([item["ranked"]] for item in said.document)
    assert {entry["expression"] for entry in ranked} == {
        "angry", "disgust", "fear", "happy", "sad", "surprise", "neutral",
    }  # fmt: skip
    assert sum(entry["probability"] for entry in ranked) == pytest.approx(1)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_they_are_small_say_their_limits_and_lost_little_by_half_precision(folder: Path) -> None:
    with (WEIGHTS / "weights.csv").open(encoding="utf-8") as file:
        (row,) = (row for row in csv.DictReader(file) if row["case"] == folder.name)
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) <= MOST_BYTES
    assert abs(float(row["half"]) - float(row["accuracy"])) <= MOST_LOST
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert (WEIGHTS / "NOTES.md").read_text(encoding="utf-8").strip() in card
    assert "## Terms" in card


def test_their_accuracies_are_those_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "examples" / "studies")
    tables = importlib.import_module("second_search_tables")
    with (WEIGHTS / "weights.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            record = RECORDS / f"final-{row['case']}-0.npz"
            assert tables.read_record(record)["right"].mean() == pytest.approx(float(row["accuracy"]), abs=1e-5)
