"""The recipes of examples/recipes: each builds and learns, and differs only in what it is compared for."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path
from typing import Any

import pandas
import pytest
from helpers.exhaustive import few
from helpers.snippets import ROOT
from helpers.tiny_runs import DENSE, FACES, train

pytestmark = pytest.mark.slow

RECIPES = sorted((ROOT / "examples" / "recipes").glob("*.toml"))
OWN = {"rule", "granularity", "epochs", "phases", "optimizer"}


def settings(recipe: Path) -> dict[str, Any]:
    return tomllib.loads(recipe.read_text(encoding="utf-8"))


def test_the_recipes_are_there() -> None:
    assert [recipe.stem for recipe in RECIPES] == [
        "fer_backprop", "fer_half_backprop", "fer_half_hsic", "fer_half_hsic_levels", "fer_half_hsic_levels_ce",
        "fer_hsic", "fer_hsic_block", "fer_hsic_ce",
    ]  # fmt: skip


@pytest.mark.parametrize("recipe", few(RECIPES, {"fer_hsic_block"}, lambda recipe: recipe.stem))
def test_a_recipe_trains(recipe: Path, tmp_path: Path) -> None:
    setting = ["--data", "faces", "--set", "data.train=28", "--set", "data.valid=7", "--set", "data.test=7"]
    words = ["--config", str(recipe), "--steps", "3", "--batch-size", "8", "--precision", "fp32"]
    done = train(tmp_path, *words, "--set", "plots=false", setting=setting)
    assert done["status"] == "done"
    assert done["parameters"] > 500_000


@pytest.mark.parametrize("half", [False, True])
def test_those_of_one_width_share_network_data_batches_and_augmentation(half: bool) -> None:
    chosen = [recipe for recipe in RECIPES if recipe.stem.startswith("fer_half_") == half]
    shared = [{key: value for key, value in settings(recipe).items() if key not in OWN} for recipe in chosen]
    assert all(one == shared[0] for one in shared)


def test_every_rule_but_the_control_is_local() -> None:
    rules = {recipe.stem: settings(recipe)["rule"]["name"] for recipe in RECIPES}
    assert [rules.pop(control) for control in ("fer_backprop", "fer_half_backprop")] == ["backprop", "backprop"]
    assert "backprop" not in rules.values()


@pytest.mark.exhaustive
def test_curves_say_what_runs_had_reached_and_spent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracies are the run folders', and a readout alone costs less arithmetic than all layers."""
    phases = '[{name="together", train_layers="all", fraction=2}, {name="readout", train_layers="readout", fraction=1}]'
    steps = [
        "--epochs",
        "3",
        "--batch-size",
        "35",
        "--set",
        "data.train=70",
        "--set",
        f"phases={phases}",
        "--set",
        "plots=false",
    ]
    alone = ["hsic-projected", "--set", "rule.channels=64", "--set", "rule.vote=true"]
    rules = (["backprop"], alone, [*alone, "--set", "rule.ce=0.3"])
    done = [train(tmp_path, "--rule", *rule, setting=[*FACES, *DENSE, *steps]) for rule in rules]
    table, image = tmp_path / "curves.csv", tmp_path / "curves.png"
    monkeypatch.setattr("sys.argv", ["", *(run["run_dir"] for run in done), "--csv", str(table), "--image", str(image)])
    runpy.run_path(str(ROOT / "examples" / "studies" / "recipe_curves.py"))["main"]()

    found = pandas.read_csv(table)
    assert list(found["recipe"].unique()) == ["fer_backprop", "fer_hsic", "fer_hsic_ce"]
    for run, recipe in zip(done, ("fer_backprop", "fer_hsic", "fer_hsic_ce"), strict=True):
        curve = found[found["recipe"] == recipe]
        assert curve["valid_accuracy"].iloc[-1] == pytest.approx(run["valid_accuracy"], abs=1e-4)
        assert list(curve["step"] * 3 / run["steps"]) == [0, 1, 2, 3]
        _, first, second, third = curve["macs_10^12"].diff()
        assert first == pytest.approx(second, rel=0.01)
        assert third < second
    assert image.exists()


TRIED = [
    *(f"form={form} ce=0.2" for form in ("trace", "ssl", "normalized", "neighbours", "contrastive", "residual")),
    "form=trace projection=0",
    "form=ssl memory=2",
    "form=ssl gamma=2 proxies=4",
    "form=ssl memory=2 proxies=2",
    "form=plain gamma=2 proxies=8 sharp=0.5",
    "form=none ce=1 channels=8",
]


@pytest.mark.parametrize("options", few(TRIED, TRIED[::4]))
def test_what_was_tried_can_be_tried_again(options: str, tmp_path: Path) -> None:
    plugin = ["--plugin", str(ROOT / "examples" / "studies" / "tried_on_fer2013.py"), "--rule", "tried"]
    plugin += [word for option in options.split() for word in ("--set", f"rule.{option}")]
    done = train(
        tmp_path, *plugin, "--set", "plots=false", setting=[*FACES, *DENSE, "--steps", "2", "--batch-size", "8"]
    )
    assert done["status"] == "done"
