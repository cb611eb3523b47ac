"""A plugin that is built and installed by pip is found, with no step of ours between."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.fake_distributions import Site, good

PYPROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "localrules-thirdparty"
version = "3.1.4"

[project.entry-points.localrules]
thirdparty = "localrules_thirdparty"

[tool.hatch.build.targets.wheel]
packages = ["localrules_thirdparty"]
"""


@pytest.mark.installs
def test_pip_install_is_all_that_a_plugin_needs(site: Site, tmp_path: Path) -> None:
    package = tmp_path / "project" / "localrules_thirdparty"
    package.mkdir(parents=True)
    (package.parent / "pyproject.toml").write_text(PYPROJECT)
    (package / "__init__.py").write_text(good("thirdparty-rule", "localrules_thirdparty.rule:Third"))
    (package / "rule.py").write_text(
        "from localrules import Objective\n\n"
        "class Third(Objective):\n    def forward(self, view):\n        return view.output.sum()\n"
    )
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(site.folder), str(package.parent)],
        check=True,
    )
    line = site.run("rules", "--json").named("thirdparty-rule")
    assert (line["distribution"], line["version"], line["status"]) == ("localrules-thirdparty", "3.1.4", "ok")
    shown = site.run("rules", "show", "localrules-thirdparty/thirdparty-rule", "--json")
    assert shown.code == 0, shown.err
    assert shown.json["options"] == []
