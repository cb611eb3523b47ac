"""``rules show`` says what a rule claims and which networks it can train."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.tiny_runs import localrules

from localrules.cli import main
from localrules.config.overrides import format_overrides, parse_overrides
from localrules_fer.faces.dataset import Faces

pytestmark = pytest.mark.slow

PICKY = '''
"""A rule for chains without norms."""

from localrules import Objective, Requirements, RuleEntry, RuleInfo, hookimpl


class Picky(Objective):
    info = RuleInfo(
        formula="mean of z squared",
        locality="local",
        requires=Requirements(sequential=True, allows_norm=False),
        run_defaults={"optimizer": {"name": "sgd", "lr": 0.05}},
        model_defaults={"norm": False},
    )

    def forward(self, view):
        return view.output.square().mean()


@hookimpl
def localrules_rules():
    return [RuleEntry(name="picky", target=f"{__name__}:Picky", summary="Picky.")]
'''


ONLY_SMALL = '''
"""A network with norms for images of 16 x 16 alone, and such images."""

from torch import nn

from localrules import DataSource, Model
from localrules.testing import toy_dataset


class Small(Model):
    def __init__(self, config, shape, num_classes):
        super().__init__(config, shape, num_classes)
        assert shape == (1, 16, 16)
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(256, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, num_classes)
        )

    def forward(self, images):
        return self.net(images)


class Tiny(DataSource):
    def load(self):
        return toy_dataset()


MODELS = {"small": Small}
DATA = {"digits-like": Tiny}
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
    assert "sequential" in models["dense_fpn"]["why"]


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


def test_packages_of_networks_are_named_as_not_tried() -> None:
    assert "not tried  timm:NAME, torchvision:NAME" in localrules("rules", "show", "hsic").out


def test_a_rule_without_defaults_of_its_own_says_nothing_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(shown(capsys, "local-ce", "--json"))["brings"] == {}
    assert "brings" not in shown(capsys, "local-ce")


@pytest.mark.parametrize("kind", ["rules", "models"])
def test_types_of_options_are_written_as_in_python(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    assert main([kind, "--json"]) == 0
    names = [entry["name"] for entry in json.loads(capsys.readouterr().out) if ":" not in entry["name"]]
    types = set()
    for name in names:
        assert main([kind, "show", name, "--json"]) == 0
        types |= {option["type"] for option in json.loads(capsys.readouterr().out)["options"]}
    assert types & {"int", "float", "tuple[int, ...]", "Path | none"}
    assert [each for each in types if not re.fullmatch(r"[\w '|\[\],.-]+", each) or "Annotated" in each] == []


def test_what_is_printed_can_be_typed() -> None:
    tree = {"optimizer": {"lr": 0.005, "betas": [0.9, 0.99]}, "model": {"norm": False, "name": "1"}}
    assert parse_overrides(format_overrides(tree)) == tree


def test_a_network_that_does_not_fit_is_refused_before_data_are_drawn_and_those_that_fit_are_named(
    capsys: pytest.CaptureFixture[str], picky: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Faces, "load", lambda self: pytest.fail("data were drawn"))
    words = [
        "--rule",
        "picky",
        "--plugin",
        picky,
        "--model",
        "dense_fpn",
        "--data",
        "faces",
        "--out",
        str(tmp_path / "runs"),
    ]
    assert main(["run", *words, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"] == "rule 'picky' cannot train 'dense_fpn'"
    assert "sequential" in error["why"]
    named = error["fix"].rpartition("--model ")[2].split(" or ")
    models = json.loads(shown(capsys, "picky", "--plugin", picky, "--json"))["models"]
    assert named == [model["name"] for model in models if model["fits"]] != []
    assert not (tmp_path / "runs").exists()


def test_a_users_word_for_the_network_counts(capsys: pytest.CaptureFixture[str], picky: str) -> None:
    words = ["--rule", "picky", "--plugin", picky, "--model", "mlp", "--data", "faces", "--set", "model.norm=true"]
    assert main(["run", *words, "--dry-run", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert "without normalisation" in error["why"]
    assert "the options that the rule brings" in error["fix"]


def test_a_network_that_cannot_be_tried_beforehand_is_judged_with_the_runs_own_images(
    capsys: pytest.CaptureFixture[str], picky: str, tmp_path: Path
) -> None:
    file = tmp_path / "small.py"
    file.write_text(ONLY_SMALL)
    data = ["--data", "digits-like", "--steps", "1", "--batch-size", "7"]
    words = ["--rule", "picky", "--plugin", picky, "--plugin", str(file), "--model", "small", *data]
    assert main(["run", *words, "--json", "--out", str(tmp_path / "runs")]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["what"], error["fix"]) == (
        "rule 'picky' cannot train 'small'",
        "`localrules rules show picky` lists the models that fit",
    )
