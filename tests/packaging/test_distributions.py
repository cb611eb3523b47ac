"""The distributions: one wheel with the engine and every plugin, which works away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.installs

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = sorted(folder.name for folder in (ROOT / "plugins").iterdir() if (folder / "__init__.py").is_file())


def build(target: str, folder: Path) -> Path:
    """A distribution of the checkout; hatchling is installed, so nothing is fetched."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)], cwd=ROOT, check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has installed the wheel."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, "--target", str(folder), str(wheel)], check=True)
    return folder


def installed(site: Path, *line: str) -> str:
    """The output of a Python that finds localrules in ``site``, and in no checkout.

    ``-S`` leaves out the editable installation's import hook, which would win over any path.
    """
    path = os.pathsep.join([str(site), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-S", *line]
    return subprocess.run(command, cwd=site.parent, env=environment, capture_output=True, text=True, check=True).stdout


def test_every_plugin_folder_is_in_the_wheel(names: list[str]) -> None:
    assert PLUGINS
    assert [plugin for plugin in PLUGINS if f"{plugin}/__init__.py" not in names] == []


def test_every_module_of_the_checkout_is_in_the_wheel(names: list[str]) -> None:
    packages = [ROOT / "localrules", *(ROOT / "plugins" / plugin for plugin in PLUGINS)]
    modules = [str(path.relative_to(package.parent)) for package in packages for path in package.rglob("*.py")]
    assert sorted(name for name in names if name.endswith(".py")) == sorted(modules)


def test_every_plugin_folder_has_an_entry_point(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        points = ConfigParser()
        points.read_string(archive.read(name).decode())
    assert sorted(points["localrules"].values()) == PLUGINS
    assert points["console_scripts"]["localrules"] == "localrules.cli:main"


def test_the_wheel_makes_nothing_else_importable(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"localrules", *PLUGINS}


def test_types_and_licence_travel_with_the_wheel(names: list[str], wheel: Path) -> None:
    assert "localrules/py.typed" in names
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = (name for name in names if name.endswith(".dist-info/licenses/LICENSE"))
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        assert "License-Expression: Apache-2.0" in archive.read(metadata).decode().splitlines()


def test_the_installed_command_is_the_wheels_own(site: Path) -> None:
    found = Path(installed(site, "-c", "import localrules; print(localrules.__file__)").strip())
    assert found.is_relative_to(site)
    version = installed(site, "-m", "localrules", "--version").split()
    assert version == ["localrules", next(site.glob("localrules-*.dist-info")).name.split("-")[1].removesuffix(".dist")]


@pytest.mark.parametrize("what", ["rules", "models", "data", "plugins"])
def test_everything_of_ours_is_there_and_usable_after_installation(site: Path, what: str) -> None:
    ours = json.loads(installed(site, "-m", "localrules", what, "--json"))
    assert {item["status"] for item in ours} == {"ok"}
    assert {item["distribution"] for item in ours} == {"localrules"}


def test_every_rule_is_there_after_installation(site: Path) -> None:
    rules = json.loads(installed(site, "-m", "localrules", "rules", "--json"))
    pages = {page.stem for page in (ROOT / "docs" / "rules").glob("*.md")}
    assert {rule["name"] for rule in rules} == pages - {"index"}


def test_the_source_distribution_can_be_checked_like_a_clone(tmp_path: Path) -> None:
    with tarfile.open(build("sdist", tmp_path)) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("Makefile", "constraints.txt", "pyproject.toml", "LICENSE", "tests/packaging/test_distributions.py"):
        assert needed in names


def test_the_index_can_show_the_description_of_both_distributions(wheel: Path, tmp_path: Path) -> None:
    files = [str(wheel), str(build("sdist", tmp_path))]
    line = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == 2
