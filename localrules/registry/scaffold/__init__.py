"""Writes a plugin to start from: a distribution that installs, learns and passes its checks as it is."""

from __future__ import annotations

import keyword
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template

from localrules.errors import UsageError
from localrules.utils.atomic_io import write_atomic

# Where each template goes; names are filled in like the texts.
_PLACES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "gitignore.txt": ".gitignore",
    "workflow.yml.txt": ".github/workflows/test.yml",
    "package/__init__.py.txt": "$package/__init__.py",
    "package/rule.py.txt": "$package/rule.py",
    "tests/test_rule.py.txt": "tests/test_rule.py",
}


def write_plugin(name: str, folder: Path | None = None) -> tuple[Path, list[Path]]:
    """Write a distribution that supplies one learning rule.

    Args:
        name: The rule's, e.g. ``my-rule``: lower-case letters, digits, dashes; begins with a letter. A ``_`` counts as
            a dash, see :func:`rule_name`.
        folder: Where; by default ``localrules-<name>`` here. It may exist if it is empty.

    Returns:
        The folder, and the files in it.

    Raises:
        UsageError: A name that cannot be one, or a folder that holds something.
    """
    name = parse_rule_name(name)
    _check(name)
    folder = Path(f"localrules-{name}") if folder is None else folder.expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "there is something already",
            where=str(folder),
            why="a new plugin is written into a folder of its own; nothing is overwritten",
            fix="--out ANOTHER_FOLDER",
        )
    package = "localrules_" + name.replace("-", "_")
    installed = version("localrules")

    words = {
        "rule": name,
        "distribution": f"localrules-{name}",
        "package": package,
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "version": installed,
    }
    written = []
    for template, place in _PLACES.items():
        text = Template((files(__name__) / "template" / template).read_text(encoding="utf-8")).substitute(words)
        path = folder / Template(place).substitute(words)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, text)
        written.append(path)
    return folder, written


def parse_rule_name(typed: str) -> str:
    """The name as rules have it, with dashes: the package's name has ``_``, and many type that."""
    return typed.replace("_", "-")


def _check(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"{name!r} cannot be a rule's name",
            where="localrules plugins new",
            why="a name is made of lower-case letters, digits and dashes, and begins with a letter",
            fix="e.g. localrules plugins new my-rule",
        )
