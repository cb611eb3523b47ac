"""``--plugin FILE``: one Python file is a plugin."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.fake_distributions import Site, good

from localrules.errors import UsageError
from localrules.registry.registry import Registry

pytestmark = pytest.mark.slow

RULE = '''
from localrules import Objective

class Mine(Objective):
    """The rule that I am writing."""

    def forward(self, view):
        return view.output.square().mean()

RULES = {"mine": Mine}
'''


def write(folder: Path, text: str, name: str = "rule.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_with_a_table_of_rules_supplies_them(tmp_path: Path) -> None:
    registry = Registry.load(files=[write(tmp_path, RULE)])
    line = registry.find("rule", "mine")
    assert line.entry.summary == "The rule that I am writing."
    assert line.distribution == str(tmp_path / "rule.py")
    assert registry.resolve("rule", "mine").__name__ == "Mine"


def test_a_file_may_use_hooks_as_a_package_does(tmp_path: Path) -> None:
    assert Registry.load(files=[write(tmp_path, good("hooked"))]).find("rule", "hooked").status == "ok"


def test_a_file_given_twice_counts_once(tmp_path: Path) -> None:
    path = write(tmp_path, RULE)
    registry = Registry.load(files=[path, path.parent / "." / path.name])
    assert registry.find("rule", "mine").status == "ok"


def test_two_files_of_one_name_are_two_plugins(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    files = [write(tmp_path, RULE), write(tmp_path / "other", RULE.replace("am writing", "wrote"))]
    registry = Registry.load(files=files)
    with pytest.raises(UsageError, match="more than one"):
        registry.find("rule", "mine")
    assert registry.find("rule", f"{files[1]}/mine").entry.summary == "The rule that I wrote."
    assert registry.resolve("rule", f"{files[1]}/mine").__doc__ == "The rule that I wrote."


def test_the_option_stands_before_or_after_the_command(site: Site, tmp_path: Path) -> None:
    path = write(tmp_path, RULE)
    for line in (
        ["rules", "--plugin", "rule.py", "--json"],
        ["--plugin", "rule.py", "rules", "--json"],
        ["--json", "rules", f"--plugin={path}"],
    ):
        assert "mine" in [rule["name"] for rule in site.run(*line).json]
    assert site.run("--plugin", "rule.py", "rules", "--json", "show", "mine").json["options"] == []


@pytest.mark.parametrize(
    ("text", "where", "why"),
    [
        (None, "", "there is no "),
        ("x = 1\ndef broken(:", ", line 2", "SyntaxError"),
        ("x = 1\n\nraise ValueError('not yet')", ", line 3", "ValueError: not yet"),
        ("import sys\nsys.exit(5)", ", line 2", "SystemExit: 5"),
        ("RULES = ['mine']", "", "RULES must be a dict from names to classes"),
        ("RULES = {'two words': int}", "", "a rule is named 'two words'"),
        (good("x").replace("localrules_rules", "localrules_rulez"), "", "did you mean 'localrules_rules'"),
        ("API_VERSION = 7", "", "it needs a newer localrules"),
    ],
)
def test_a_file_that_cannot_be_used_is_wrong_use(
    site: Site, tmp_path: Path, text: str | None, where: str, why: str
) -> None:
    if text is not None:
        write(tmp_path, text)
    answer = site.run("rules", "--plugin", "rule.py", "--json")
    assert answer.code == 2
    assert answer.json["error"]["where"] == f"--plugin rule.py{where}"
    assert why in answer.json["error"]["why"]
    assert "Traceback" not in answer.err


def test_a_folder_is_not_a_plugin_file(site: Site) -> None:
    answer = site.run("rules", "--plugin", ".", "--json")
    assert answer.code == 2
    assert answer.json["error"]["what"] == "a folder was given as plugin file"
