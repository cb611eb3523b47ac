"""``rules show`` says what a rule claims and which networks it can train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localrules.cli import main
from localrules.engine.settings import assigned, spelt

PICKY = '''
"""A rule for chains without norms."""

from localrules import Objective, Requirements, RuleEntry, hookimpl


class Picky(Objective):
    formula = "mean of z squared"
    locality = "local"
    requires = Requirements(chain=True, norms=False, labels=False)
    run_defaults = {"optimizer": {"name": "sgd", "lr": 0.05}}
    model_defaults = {"norm": False}

    def loss(self, view):
        return view.output.square().mean()


@hookimpl
def localrules_rules():
    return [RuleEntry(name="picky", target=f"{__name__}:Picky", summary="Picky.")]
'''


@pytest.fixture
def picky(tmp_path: Path) -> str:
    file = tmp_path / "picky.py"
    file.write_text(PICKY)
    return str(file)


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["rules", "show", *words]) in (None, 0)
    return capsys.readouterr().out


def test_scripts_read_formula_class_and_the_networks_that_fit(capsys: pytest.CaptureFixture[str], picky: str) -> None:
    known = json.loads(shown(capsys, "picky", "--plugin", picky, "--json"))
    assert (known["formula"], known["locality"]) == ("mean of z squared", "local")
    models = {model["name"]: model for model in known["models"]}
    assert models["mlp"]["fits"]  # without its norms, which the rule asks it to leave out
    assert not models["dense_fpn"]["fits"]
    assert "chain" in models["dense_fpn"]["why"]


def test_people_read_the_same(capsys: pytest.CaptureFixture[str], picky: str) -> None:
    text = " ".join(shown(capsys, "picky", "--plugin", picky).split())
    assert "no labels" in text
    assert "trains" in text
    assert "trains not" in text


def test_both_read_which_defaults_of_the_run_and_of_the_network_it_brings(
    capsys: pytest.CaptureFixture[str], picky: str
) -> None:
    brings = json.loads(shown(capsys, "picky", "--plugin", picky, "--json"))["brings"]
    assert brings == {"optimizer": {"name": "sgd", "lr": 0.05}, "model": {"norm": False}}
    text = " ".join(shown(capsys, "picky", "--plugin", picky).split())
    assert "brings optimizer.name=sgd, optimizer.lr=0.05, model.norm=false" in text


def test_a_rule_without_defaults_of_its_own_says_nothing_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown(capsys, "local-ce", "--json"))["brings"] == {}
    assert "brings" not in shown(capsys, "local-ce")


def test_what_is_printed_can_be_typed() -> None:
    tree = {"optimizer": {"lr": 0.005, "betas": [0.9, 0.99]}, "model": {"norm": False, "name": "1"}}
    assert assigned(spelt(tree)) == tree
