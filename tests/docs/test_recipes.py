"""The recipes of examples/recipes: each builds and learns, and differs only in what it is compared for."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from snippets import ROOT
from tiny_runs import DENSE, FACES, train

RECIPES = sorted((ROOT / "examples" / "recipes").glob("*.toml"))
OWN = {"rule", "granularity", "epochs", "phases", "optimizer"}


def settings(recipe: Path) -> dict[str, Any]:
    return tomllib.loads(recipe.read_text(encoding="utf-8"))


def test_the_four_recipes_are_there() -> None:
    assert [recipe.stem for recipe in RECIPES] == ["fer_backprop", "fer_best_local", "fer_hsic", "fer_hsic_block"]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_a_recipe_trains(recipe: Path, tmp_path: Path) -> None:
    words = ["--config", str(recipe), "--data", "faces", "--steps", "3", "--batch-size", "16", "--precision", "fp32"]
    done = train(tmp_path, *words, setting=FACES[2:] if FACES[0] == "--data" else FACES)
    assert done["status"] == "done"
    assert done["parameters"] > 1_000_000


def test_they_share_network_data_batches_and_augmentation() -> None:
    shared = [{key: value for key, value in settings(recipe).items() if key not in OWN} for recipe in RECIPES]
    assert all(one == shared[0] for one in shared)


def test_every_rule_but_the_control_is_local() -> None:
    rules = {recipe.stem: settings(recipe)["rule"]["name"] for recipe in RECIPES}
    assert rules.pop("fer_backprop") == "backprop"
    assert "backprop" not in rules.values()


@pytest.mark.parametrize(
    "form", ["trace", "ssl", "normalized", "neighbours", "contrastive", "residual", "none", "trace without projection"]
)
def test_what_was_tried_can_be_tried_again(form: str, tmp_path: Path) -> None:
    plugin = ["--plugin", str(ROOT / "examples" / "tried_on_fer2013.py"), "--rule", "tried"]
    options = ["--set", f"rule.form={form.split()[0]}", "--set", f"rule.ce={1.0 if form == 'none' else 0.2}"]
    options += ["--set", "rule.projection=0"] if "without" in form else []
    done = train(tmp_path, *plugin, *options, setting=[*FACES, *DENSE, "--steps", "3", "--batch-size", "16"])
    assert done["status"] == "done"
