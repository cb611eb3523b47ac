"""Parts of the API pages that no single docstring holds: the classes of locality, and the keys of a run's summary."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from localrules.core.locality import LOCALITY_DESCRIPTIONS
from localrules.runs import summary


def localities() -> Iterator[str]:
    """A table of the classes of locality, from the most local to the most global."""
    yield from ("| class | meaning |", "|---|---|")
    yield from (f"| `{name}` | {meaning} |" for name, meaning in LOCALITY_DESCRIPTIONS.items())
    yield ""


def summary_keys() -> Iterator[str]:
    """The keys that ``summarize`` puts into a summary, in its order."""
    tree = ast.parse(Path(summary.__file__).read_text(encoding="utf-8"))
    (made,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "summarize")
    dicts = (node for node in ast.walk(made) if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict))
    keys = [key.value for node in dicts for key in node.value.keys]  # type: ignore[union-attr]
    keys += [node.slice.value for node in ast.walk(made) if isinstance(node, ast.Subscript) and _is_key(node)]  # type: ignore[attr-defined]
    yield f"{', '.join(f'`{key}`' for key in keys)}."
    yield ""


def _is_key(node: ast.Subscript) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "summary" and isinstance(node.slice, ast.Constant)
