"""Folders, plugin files and images whose names are not UTF-8."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.tiny_runs import TINY, localrules, only_run
from PIL import Image

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names"),
]

NAME = os.fsdecode(b"l\xfcn")
RULE = """
from localrules import Objective
class Mine(Objective):
    "A rule in a file whose name is not UTF-8."
    def forward(self, view):
        return view.output.square().mean()
RULES = {"mine": Mine}
"""


def test_a_run_is_trained_evaluated_and_asked(tmp_path: Path) -> None:
    place = tmp_path / NAME
    place.mkdir()
    plugin, image = place / f"{NAME}.py", place / f"{NAME}.png"
    plugin.write_text(RULE)
    Image.new("L", (48, 48), 90).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(image)
    said = localrules("run", "--plugin", plugin, "--rule", "mine", *TINY, "--out", place / "runs", "--json")
    assert said.code == 0, said.err
    folder = only_run(place / "runs")
    record = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    assert record["environment"]["supplied_by"]["rule"].startswith("l\\xfcn.py")
    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"))["run_dir"] == str(folder)
    assert localrules("eval", folder, "--plugin", plugin, "--json").code == 0
    assert localrules("run", "--resume", folder, "--plugin", plugin, "--json").code == 0
    said = localrules("predict", folder, image, "--plugin", plugin, "--json")
    assert said.document[0]["image"] == str(image)  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["--data", "fer2013", "--data-path", NAME], "data.path"),
        (["--wandb", "offline", "--set", f"wandb.project={NAME}"], "wandb.project"),
        (["--set", f"rule.{NAME}=3"], f"rule.{NAME}"),
    ],
)
def test_a_setting_that_config_toml_cannot_hold_is_refused(words: list[str], option: str, tmp_path: Path) -> None:
    said = localrules("run", "--rule", "backprop", *TINY, *words, "--out", tmp_path, "--json")
    assert (said.code, said.error["what"]) == (2, f"option {option!r} is not UTF-8")
    assert list(tmp_path.iterdir()) == []
