"""``rules``, ``models``, ``data`` and ``plugins``: what there is, for people and for scripts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import localrules
from localrules.cli import main
from localrules.registry.registry import Registry

pytestmark = pytest.mark.slow

KEYS = {"name", "summary", "reference", "distribution", "version", "status", "cause"}

OURS = {
    "rules": {"backprop", "backprop-checkpointed", "hsic", "hsic-normalized", "local-ce"},
    "models": {"dense_fpn", "dense_fpn_small", "mlp"},
    "data": {"fer2013", "faces", "mnist", "fashion_mnist", "image_folder", "cifar10", "cifar100", "imagenet"},
    "plugins": {"backprop", "classics", "fer", "hsic", "supervised", "mlflow", "tensorboard", "trackio", "wandb"},
}


@pytest.fixture(autouse=True)
def _ours_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALRULES_PLUGINS", "")


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("command", OURS)
def test_json_is_a_list_of_objects_with_the_documented_keys(capsys: pytest.CaptureFixture[str], command: str) -> None:
    lines = answer(capsys, command)
    assert all(set(line) == KEYS | ({"class"} if command == "rules" else set()) for line in lines)
    assert {line["name"] for line in lines} >= OURS[command]
    for line in lines:
        assert (line["distribution"], line["version"]) == ("localrules", localrules.__version__)
        assert (line["status"], line["cause"]) == ("ok", None)
        assert line["summary"]


@pytest.mark.parametrize("command", OURS)
def test_the_table_names_each_with_its_summary(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert main([command]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in OURS[command])
    assert f"all of localrules {localrules.__version__}" in " ".join(shown.split())


def test_on_a_small_screen_rules_are_their_names_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(force_terminal=True, width=80, height=24, file=io.StringIO(), color_system=None)
    monkeypatch.setattr("localrules.cli.listing.get_console", lambda: screen)
    assert main(["rules"]) == 0
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("\n") <= 24
    assert OURS["rules"] <= set(shown.split())
    assert shown.index("local-labels") < shown.index("hsic") < shown.index("broadcast-error") < shown.index(" dfa")


def test_the_class_of_locality_in_the_list_is_that_of_the_rule() -> None:
    registry = Registry.load()
    listed = {item.entry.name: item.as_dict()["class"] for item in registry.entries("rule")}
    assert listed == {name: registry.resolve("rule", name).info.locality for name in listed}


def test_rules_are_listed_by_class_of_locality(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.strip()]
    places = [lines.index(name) for name in ("local", "softhebb", "local-labels", "hsic", "feedback", "fa")]
    assert places == sorted(places)


def test_the_class_of_a_rule_in_a_plugin_file_is_known(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from localrules import Objective, RuleInfo\n"
        "class Mine(Objective):\n"
        "    'Mean output.'\n"
        "    info = RuleInfo(locality='local')\n"
        "    def forward(self, view):\n"
        "        return view.output.mean()\n"
        "RULES = {'mine': Mine}\n"
    )
    (mine,) = [line for line in answer(capsys, "rules", "--plugin", str(file)) if line["name"] == "mine"]
    assert mine["class"] == "local"


def test_every_rule_of_ours_says_where_it_was_published() -> None:
    assert all("http" in item.entry.reference for item in Registry.load().entries("rule"))


@pytest.mark.parametrize(
    ("command", "name"), [("rules", "hsic"), ("models", "dense_fpn_small"), ("rules", "localrules/hsic")]
)
def test_show_gives_an_entry_with_its_documented_options(
    capsys: pytest.CaptureFixture[str], command: str, name: str
) -> None:
    shown = answer(capsys, command, "show", name)
    assert set(shown) >= KEYS | {"options"}
    assert shown["options"]
    for option in shown["options"]:
        assert set(option) == {"name", "type", "required", "default", "description"}
        assert option["description"], f"{name}: {option['name']}"


def test_show_lays_options_out_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "show", "hsic"]) == 0
    shown = capsys.readouterr().out
    assert "--set rule." in shown
    assert "beta" in shown


def test_show_suggests_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "dense_fnp", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["what"] == "there is no model 'dense_fnp'"
    assert "'dense_fpn'" in error["fix"]


@pytest.mark.parametrize("line", ["rules hsic", "models mlp"])
def test_a_name_alone_shows_the_entry(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    kind, name = line.split()
    assert main([kind, "show", name, "--json"]) == 0
    shown = capsys.readouterr().out
    assert main([kind, name, "--json"]) == 0
    assert capsys.readouterr().out == shown
