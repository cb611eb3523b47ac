"""The facts that stand in more than one file agree."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").iterdir() if (folder / "__init__.py").is_file())
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)


def test_every_plugin_folder_is_packed_registered_typed_and_under_contract() -> None:
    tool = PYPROJECT["tool"]
    assert tool["hatch"]["build"]["targets"]["wheel"]["packages"] == ["localrules", *(f"plugins/{p}" for p in PLUGINS)]
    assert PYPROJECT["project"]["entry-points"]["localrules"] == {p.removeprefix("localrules_"): p for p in PLUGINS}
    assert tool["mypy"]["packages"] == tool["importlinter"]["root_packages"] == ["localrules", *PLUGINS]
    contracts = {contract["id"]: contract for contract in tool["importlinter"]["contracts"]}
    assert contracts["no-rule-of-its-own"]["forbidden_modules"] == PLUGINS
    assert contracts["independent-plugins"]["modules"] == PLUGINS


def test_our_plugins_are_not_nested_projects() -> None:
    assert list((ROOT / "plugins").rglob("pyproject.toml")) == []


UNPINNED = {"mlflow", "trackio"}  # extras whose own bounds exclude the newest releases of other packages


def requirements() -> list[Requirement]:
    extras = PYPROJECT["project"]["optional-dependencies"]
    groups = [PYPROJECT["project"]["dependencies"], *(texts for name, texts in extras.items() if name not in UNPINNED)]
    groups += PYPROJECT["dependency-groups"].values()
    return [Requirement(text) for group in groups for text in group]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_each_direct_dependency_is_pinned_within_its_bounds(requirement: Requirement) -> None:
    pinned = PINS[requirement.name.lower().replace("_", "-")]
    assert requirement.specifier.contains(Version(pinned))


def test_constraints_are_plain_pins_in_order() -> None:
    assert list(PINS) == sorted(PINS)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) for name in PINS)
    assert all(str(Version(pin)) == pin for pin in PINS.values())


def test_citation_and_changelog_speak_of_this_version() -> None:
    version = PYPROJECT["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_ci_runs_what_a_developer_runs() -> None:
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make test"
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_make_alone_lists_what_there_is() -> None:
    shown = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True).stdout
    for target in ("make run", "make test", "make format", "make clean"):
        assert target in shown
