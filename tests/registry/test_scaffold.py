"""``plugins new`` writes a distribution that installs, is listed, runs and passes its checks as it is."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.fake_distributions import Site
from helpers.tiny_runs import localrules

from localrules.cli import main
from localrules.errors import UsageError
from localrules.registry import scaffold
from localrules.registry.entries import KINDS

EXAMPLE = Path(__file__).parents[2] / "examples" / "localrules-neighbours"
OPTIONS = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]


def texts(folder: Path) -> dict[str, str]:
    left_out = {"__pycache__", ".pytest_cache"}
    files = [path for path in folder.rglob("*") if path.is_file() and not left_out & set(path.parts)]
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in files}


def test_the_example_is_what_the_command_writes(tmp_path: Path) -> None:
    folder, files = scaffold.write_plugin("neighbours", tmp_path / "new", author="The localrules founders")
    assert texts(folder) == texts(EXAMPLE)
    assert sorted(str(path.relative_to(folder)) for path in files) == sorted(texts(EXAMPLE))


def test_its_rule_is_at_most_fifteen_lines_however_they_are_counted() -> None:
    text = (EXAMPLE / "localrules_neighbours" / "rule.py").read_text()
    (rule,) = (node for node in ast.parse(text).body if isinstance(node, ast.ClassDef))
    assert rule.end_lineno is not None
    assert rule.end_lineno - rule.lineno + 1 <= 15  # the class with its docstring and empty lines
    assert len([line for line in text.splitlines() if line.strip()]) <= 15  # or the file with its imports


def install_one_of_each_kind(tmp_path: Path, site: Site) -> list[Path]:
    """Write a plugin of each kind, and install them beside the example; their folders."""
    folders = {kind: tmp_path / f"my-{kind}" for kind in scaffold.KINDS}
    for kind, folder in folders.items():
        assert main(["plugins", "new", f"my-{kind}", "--kind", kind, "--out", str(folder), "--json"]) in (None, 0)
    command = [sys.executable, "-m", "pip", "install", *OPTIONS, "--target", str(site.folder)]
    subprocess.run([*command, *map(str, folders.values()), str(EXAMPLE)], check=True)
    return list(folders.values())


@pytest.mark.installs
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_plugin_of_each_kind_installs_is_listed_and_passes_its_checks(tmp_path: Path, site: Site) -> None:
    install_one_of_each_kind(tmp_path, site)
    listed = {row["name"]: row for row in localrules("rules", "--json").document}
    for rule in ("my-rule", "neighbours"):
        assert (listed[rule]["status"], listed[rule]["distribution"]) == ("ok", f"localrules-{rule}")
    for kind in scaffold.KINDS:
        # The rule's own tests run the rest of the kit.
        only = ["--only", "learns_digits"] if kind == "rule" else []
        checked = localrules("plugins", "check", f"localrules_my_{kind}", *only, "--json")
        assert checked.code == 0, checked.out
        assert {row["status"] for row in checked.document} <= {"passed", "skipped"}
        assert any(row["status"] == "passed" for row in checked.document)


@pytest.mark.exhaustive
@pytest.mark.installs
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_plugin_of_each_kind_passes_its_own_tests(tmp_path: Path, site: Site) -> None:
    folders = install_one_of_each_kind(tmp_path, site)
    path = os.pathsep.join([str(site.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    words = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-k", "not learns_digits"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, *(str(folder / "tests") for folder in folders)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_on_publishing_shows_what_the_command_writes(tmp_path: Path) -> None:
    folder, _ = scaffold.write_plugin("spread", tmp_path / "new")
    page = (Path(__file__).parents[2] / "docs" / "guides" / "publishing.md").read_text(encoding="utf-8")
    assert (folder / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8") in page
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    written = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))

    def is_part(part: object, whole: object) -> bool:
        if isinstance(part, dict) and isinstance(whole, dict):
            return all(is_part(value, whole.get(key)) for key, value in part.items())
        return part == whole

    assert is_part(tomllib.loads(shown), written)


@pytest.mark.parametrize("kind", scaffold.KINDS)
def test_a_distribution_has_what_publishing_needs(kind: scaffold.Kind, tmp_path: Path) -> None:
    folder, _ = scaffold.write_plugin("mine", tmp_path / "new", kind=kind, author="Ada Lovelace")
    written = texts(folder)
    project = tomllib.loads(written["pyproject.toml"])["project"]
    assert project["authors"] == [{"name": "Ada Lovelace"}]
    assert project["license"] == "MIT"
    assert "Ada Lovelace" in written["LICENSE"]
    assert {"Source", "Issues", "Changelog"} <= set(project["urls"])
    assert re.fullmatch(r"localrules>=[\d.]+,<[\d.]+", project["dependencies"][0])
    assert {".github/workflows/test.yml", ".github/workflows/release.yml", "CHANGELOG.md"} <= set(written)
    for name, text in written.items():
        assert "$" not in text or name.endswith((".yml", "README.md")), name
        if name.endswith(".py"):
            compile(text, name, "exec")


def test_every_kind_of_entry_has_a_template() -> None:
    assert tuple(KINDS) == scaffold.KINDS


def test_an_underscore_becomes_a_dash_and_the_command_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plugins", "new", "my_rule", "--out", str(tmp_path / "typed")]) in (None, 0)
    assert "The learning rule is called my-rule" in " ".join(capsys.readouterr().out.split())
    folder, _ = scaffold.write_plugin("my-rule", tmp_path / "meant")
    assert texts(tmp_path / "typed") == texts(folder)


@pytest.mark.parametrize("name", ["My-Rule", "1st", "_a", "a__b", "a--b", "class", "", "../up"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="invalid name"):
        scaffold.write_plugin(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        scaffold.write_plugin("my-rule", tmp_path)
    assert texts(tmp_path) == {"mine.txt": "mine"}


@pytest.mark.parametrize(("name", "kind"), [("hsic", "rule"), ("fer", "rule"), ("local_ce", "rule"), ("mlp", "model")])
def test_a_name_that_is_taken_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    said = localrules("plugins", "new", name, "--kind", kind, "--out", tmp_path / "new", "--json")
    assert said.code == 2
    assert "is taken" in said.error["what"]
    assert not (tmp_path / "new").exists()


def test_a_name_of_another_kind_is_free(tmp_path: Path) -> None:
    assert localrules("plugins", "new", "mlp", "--kind", "rule", "--out", tmp_path / "new", "--json").code == 0


def test_any_authors_name_and_any_folder_do(tmp_path: Path) -> None:
    name, folder = 'Ann "Nan" Lee \\', tmp_path / "my plug"
    said = localrules("plugins", "new", "spread", "--out", folder, "--author", name)
    assert tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["authors"] == [
        {"name": name}
    ]
    assert f"pip install -e '{folder}'" in said.out
