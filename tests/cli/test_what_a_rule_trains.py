"""``rules show`` says what a rule claims and which networks it can train."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localrules.cli import main

PICKY = '''
"""A rule for chains without norms."""

from localrules import Objective, Requirements, RuleEntry, hookimpl


class Picky(Objective):
    formula = "mean of z squared"
    locality = "local"
    requires = Requirements(chain=True, norms=False, labels=False)
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
