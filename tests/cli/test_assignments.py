"""Settings as W&B's agents write them on the command line of a run, and settings in a JSON file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from helpers.tiny_runs import TINY, localrules

from localrules.cli.options import normalize_argv
from localrules.cli.run import app
from localrules.config.settings import Settings
from localrules.errors import UsageError


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["--rule.beta=50"], ["--set", "rule.beta=50"]),
        (["rule.beta=50", "batch_size=64"], ["--set", "rule.beta=50", "--set", "batch_size=64"]),
        (["--batch_size=64"], ["--set", "batch_size=64"]),
        (["--audit", "rule.beta=50"], ["--audit", "--set", "rule.beta=50"]),
        (["--set", "rule.beta=50"], ["--set", "rule.beta=50"]),
        (["--rule", "layers.0=softhebb,*=hsic"], ["--rule", "layers.0=softhebb,*=hsic"]),
        (["--batch-size=64"], ["--batch-size=64"]),
        (["--rule=hsic"], ["--rule=hsic"]),
    ],
)
def test_assignments_of_a_run_are_settings(typed: list[str], meant: list[str]) -> None:
    assert normalize_argv(["run", *typed]) == ["run", *meant]


def test_shared_options_may_stand_before_the_command() -> None:
    words = ["--json", "--plugin", "mine.py", "run", "--rule", "hsic", "rule.beta=50"]
    assert normalize_argv(words) == ["run", "--rule", "hsic", "--set", "rule.beta=50", "--json", "--plugin", "mine.py"]


def test_a_flag_without_a_value_does_not_take_the_assignment_behind_it() -> None:
    command = typer.main.get_command(app)
    flags = [name for option in command.params if getattr(option, "is_flag", False) for name in option.opts]
    assert "--audit" in flags
    for flag in flags:
        if flag not in ("--help", "--install-completion", "--show-completion"):
            assert "--set" in normalize_argv(["run", flag, "rule.beta=50"]), flag


def test_other_commands_keep_their_words() -> None:
    assert normalize_argv(["eval", "a.b=1"]) == ["eval", "a.b=1"]


def test_a_run_takes_them(tmp_path: Path) -> None:
    said = localrules("run", *TINY, "--rule", "hsic", "--rule.beta=7", "optimizer.lr=0.5", "--out", tmp_path, "--json")
    assert said.code == 0, said.err
    config = Settings.from_file(Path(said.document["run_dir"]) / "config.toml").tree
    assert (config["rule"]["beta"], config["optimizer"]["lr"]) == (7, 0.5)


def test_a_json_file_holds_settings_also_with_dotted_names(tmp_path: Path) -> None:
    path = tmp_path / "args.json"
    path.write_text(json.dumps({"rule.beta": 5, "rule.name": "hsic", "model": {"name": "mlp"}}))
    assert Settings.from_file(path).tree == {"rule": {"name": "hsic", "beta": 5}, "model": {"name": "mlp"}}
    for text in ("[1]", "{", "nonsense"):
        path.write_text(text)
        with pytest.raises(UsageError, match=r"JSON|object"):
            Settings.from_file(path)
