"""Docstrings describe the parameters and attributes that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("localrules", "plugins", "examples", "docs/scripts", ".ci")
_ENTRY = re.compile(r"^    ([*\w][\w*, ]*?): ", re.MULTILINE)


def described(docstring: str, section: str) -> list[str]:
    """The names in a section of a docstring."""
    found = re.search(rf"^{section}:\n((?:    .*\n?|\n)*)", docstring, re.MULTILINE)
    names = _ENTRY.findall(found[1]) if found else []
    return [part.strip().lstrip("*") for name in names for part in name.split(",")]


def parameters(function: ast.FunctionDef) -> set[str]:
    own = function.args
    more = [one for one in (own.vararg, own.kwarg) if one is not None]
    return {one.arg for one in (*own.posonlyargs, *own.args, *own.kwonlyargs, *more)}


def members(cls: ast.ClassDef) -> tuple[set[str], set[str]]:
    """The parameters of a class's constructor, and its attributes."""
    fields = {one.target.id for one in cls.body if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)}
    makers = [one for one in cls.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    given = fields.union(*(parameters(one) for one in makers))
    attributes = {one.name for one in cls.body if isinstance(one, ast.FunctionDef)} | fields
    for node in ast.walk(cls):
        if isinstance(node, ast.Assign):
            attributes |= {one.id for one in node.targets if isinstance(one, ast.Name)}
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            attributes.add(node.attr)
    return given, attributes | given


def wrong_names(source: str) -> Iterator[str]:
    """Names that docstrings describe and that do not exist."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            yield from (f"{node.name}: {name}" for name in described(text, "Args") if name not in parameters(node))
        elif isinstance(node, ast.ClassDef):
            text = ast.get_docstring(node) or ""
            given, attributes = members(node)
            inherited = bool(node.bases)  # parameters and attributes may be those of a base
            known = attributes | ({"Config", "config", "info", "layer", "num_classes"} if inherited else set())
            yield from (f"{node.name}: {name}" for name in described(text, "Attributes") if name not in known)
            if given:
                yield from (f"{node.name}: {name}" for name in described(text, "Args") if name not in given)


@pytest.mark.parametrize("folder", FOLDERS)
def test_docstrings_name_what_is_there(folder: str) -> None:
    paths = sorted((ROOT / folder).rglob("*.py"))
    assert paths
    found = {str(path.relative_to(ROOT)): list(wrong_names(path.read_text(encoding="utf-8"))) for path in paths}
    assert {path: names for path, names in found.items() if names} == {}


def test_a_renamed_parameter_is_found() -> None:
    function = 'def f(new):\n    """Do.\n\n    Args:\n        old: It.\n        new: It.\n    """'
    cls = 'class C:\n    """Be.\n\n    Attributes:\n        old: It.\n    """\n    new: int'
    assert list(wrong_names(function)) == ["f: old"]
    assert list(wrong_names(cls)) == ["C: old"]
