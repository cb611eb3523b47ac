"""Writes a plugin to start from: a distribution that installs, works and passes its checks as it is."""

from __future__ import annotations

import json
import keyword
import re
import time
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Literal, get_args

from localrules.errors import UsageError
from localrules.registry.registry import Registry
from localrules.utils.atomic_io import write_atomic

Kind = Literal["rule", "model", "data", "tracker", "executor", "preset", "metric", "exporter", "experiment"]
"""Each of :data:`localrules.registry.entries.KINDS`."""
KINDS: tuple[Kind, ...] = get_args(Kind)

# The target of each template; names are filled in like the texts.
_COMMON = {
    "common/pyproject.toml.txt": "pyproject.toml",
    "common/CHANGELOG.md.txt": "CHANGELOG.md",
    "common/LICENSE.txt": "LICENSE",
    "common/gitignore.txt": ".gitignore",
    "common/test.yml.txt": ".github/workflows/test.yml",
    "common/release.yml.txt": ".github/workflows/release.yml",
}
_OF_KIND = {
    "$kind/README.md.txt": "README.md",
    "$kind/__init__.py.txt": "$package/__init__.py",
    "$kind/$kind.py.txt": "$package/$kind.py",
    "$kind/test.py.txt": "tests/test_$kind.py",
}
_DESCRIPTIONS: dict[Kind, str] = {
    "rule": "The learning rule {}, a plugin of localrules.",
    "model": "The network {}, a plugin of localrules.",
    "data": "The data set {}, a plugin of localrules.",
    "tracker": "The tracker {}, a plugin of localrules.",
    "executor": "The executor {}, a plugin of localrules.",
    "preset": "The preset {}, a plugin of localrules.",
    "metric": "The metric {}, a plugin of localrules.",
    "exporter": "The export format {}, a plugin of localrules.",
    "experiment": "The experiment {}, a plugin of localrules.",
}


def write_plugin(
    name: str, folder: Path | None = None, *, kind: Kind = "rule", author: str = "Your Name"
) -> tuple[Path, list[Path]]:
    """Write a distribution that supplies one rule, network, data set or entry of another kind.

    Args:
        name: The name of the entry, e.g. ``my-rule``: lower-case letters, digits, dashes; begins with a letter. A ``_``
            counts as a dash, see :func:`parse_name`.
        folder: Where; by default ``localrules-<name>`` in the current folder. It may exist if it is empty.
        kind: What the plugin supplies.
        author: Named in its metadata and licence.

    Returns:
        The folder, and the files in it.

    Raises:
        UsageError: An invalid name, or a folder that is not empty.
    """
    name = parse_name(name)
    _check(name)
    folder = Path(f"localrules-{name}") if folder is None else folder.expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            "the folder is not empty",
            where=str(folder),
            why="a new plugin is written into a folder of its own; nothing is overwritten",
            fix="--out ANOTHER_FOLDER",
        )
    installed = version("localrules")
    distribution = f"localrules-{name}"
    values = {
        "kind": kind,
        "name": name,
        "distribution": distribution,
        "package": "localrules_" + name.replace("-", "_"),
        "class_name": "".join(part.capitalize() for part in name.split("-")),
        "description": _DESCRIPTIONS[kind].format(name),
        "author": author,
        "quoted_author": json.dumps(author, ensure_ascii=False),  # a string of TOML, too
        "year": time.strftime("%Y"),
        "url": f"https://github.com/YOUR-NAME/{distribution}",
        "version": installed,
        "upper": _next_minor(installed),
    }
    written = []
    templates = files(__name__) / "template"
    for template, target in {**_COMMON, **_OF_KIND}.items():
        source = templates / Template(template).substitute(values)
        path = folder / Template(target).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, Template(source.read_text(encoding="utf-8")).substitute(values))
        written.append(path)
    return folder, written


def parse_name(typed: str) -> str:
    """The name with dashes: packages have ``_``, and many people type that."""
    return typed.replace("_", "-")


def check_name_is_free(name: str, kind: Kind, registry: Registry) -> None:
    """Refuse a name whose package or entry is installed: installing the new plugin would replace or hide it.

    Raises:
        UsageError: A package or an entry has the name already.
    """
    package = "localrules_" + name.replace("-", "_")
    taken = [item for item in registry.entries(kind) if item.entry.name == name]
    if not taken and find_spec(package) is None:
        return
    found = f"{kind} {name!r} of {taken[0].distribution}" if taken else f"package {package}"
    raise UsageError(
        f"the name {name!r} is taken",
        where="localrules plugins new",
        why=f"{found} is installed; a plugin of the same name would replace or hide it",
        fix=f"choose another name, e.g. localrules plugins new my-{name}",
    )


def _next_minor(installed: str) -> str:
    """The first version that a plugin made for this one must not assume: 0.2 for 0.1.3, 2 for 1.4."""
    major, minor = installed.split(".")[:2]
    return f"0.{int(minor) + 1}" if major == "0" else str(int(major) + 1)


def _check(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"invalid name {name!r}",
            where="localrules plugins new",
            why="a name is made of lower-case letters, digits and dashes, and begins with a letter",
            fix="e.g. localrules plugins new my-rule",
        )
