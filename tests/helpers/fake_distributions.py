"""Throw-away distributions: installed for real, as Python sees it, in a folder that lives as long as a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOOD = """
from localrules import RuleEntry, hookimpl

@hookimpl
def localrules_rules():
    return [RuleEntry(name="{rule}", target="{target}", summary="A rule of somebody else.", reference="Somebody 2026")]
"""


def good(rule: str, target: str = "nowhere:Nothing") -> str:
    """The entry-point module of a plugin that supplies one rule."""
    return GOOD.format(rule=rule, target=target)


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def named(self, name: str) -> dict[str, Any]:
        """The one line of a list with this name."""
        (found,) = [item for item in self.json if item["name"] == name]
        return found


class Site:
    """A folder of installed distributions, and the command line of a Python that has it on its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, distribution: str, code: str, *, version: str = "1.0", points: str = "", **modules: str) -> None:
        """Install a distribution with one plugin, whose module is named like the distribution.

        Args:
            distribution: Its name; the plugin's entry point has the same.
            code: The entry-point module.
            version: Its version.
            points: Lines of ``entry_points.txt``, instead of that one.
            modules: Code of further modules by name.
        """
        name = distribution.replace("-", "_")
        info = self.folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[localrules]\n{points or f'{distribution} = {name}'}\n")
        for module, text in {name: code, **modules}.items():
            (self.folder / f"{module}.py").write_text(text)
        files = [path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file()]
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))

    def run(self, *arguments: str, **environment: str) -> Answer:
        """``python -m localrules`` in a process of its own, somewhere else."""
        path = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run(
            [sys.executable, "-m", "localrules", *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder.parent,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200", **environment},
            check=False,
        )
        return Answer(done.returncode, done.stdout, done.stderr)
