"""The core names no data set, model, metric or export format of a plugin, but for those listed."""

import ast
from pathlib import Path

import pytest

from localrules.registry.registry import Registry

ROOT = Path(__file__).parents[2] / "localrules"
KINDS = ("data", "model", "metric", "exporter")
KNOWN = {
    ("core/nn/heads.py", "mlp"),  # a function of that name
    ("engine/system_info.py", "torchvision"),  # the package
    ("prediction/predict.py", "faces"),  # a variable
}
"""Where a name stands in the core; nothing may be added."""


def words(source: str) -> set[str]:
    """Identifiers and whole string constants."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        for field in ("id", "attr", "arg", "name", "value"):
            word = getattr(node, field, None)
            if isinstance(word, str):
                found.add(word)
    return found


def test_the_core_names_nothing_of_a_plugin() -> None:
    registry = Registry.load(allow=[])
    names = {item.entry.name for kind in KINDS for item in registry.entries(kind)}
    assert {"fer2013", "dense_fpn", "ferplus"} <= names
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in ROOT.rglob("*.py")
        for name in words(path.read_text(encoding="utf-8")) & names
    }
    assert found == KNOWN


@pytest.mark.parametrize("source", ["x = 'fer2013'", "def f(fer2013): ...", "f(fer2013=1)", "a.fer2013"])
def test_a_name_is_found_wherever_it_stands(source: str) -> None:
    assert "fer2013" in words(source)
