"""The reference for authors, for ``generate.py``, from the docstrings of the source.

``hooks``, ``summary keys``, ``localities``, or a class by ``package.module:Name`` below ``localrules``.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from localrules import closing, hookspecs
from localrules.core.locality import MEANING

HEADS = ("Attributes", "Args", "Returns", "Raises", "Example")
_HEAD = re.compile(rf"^({'|'.join(HEADS)}):\n", re.MULTILINE)
_ENTRY = re.compile(r"^ {4}(\w+(?:, \w+)*): ", re.MULTILINE)


class _Bare(str):
    """An annotation that is shown as it was written, without quotes."""

    __repr__ = str.__str__


def reference(what: str) -> Iterator[str]:
    """One part of the reference."""
    if what == "hooks":
        for name, hook in vars(hookspecs).items():
            if name.startswith("localrules_"):
                yield from _function(hook, f"### {name}")
    elif what == "summary keys":
        yield f"{', '.join(f'`{key}`' for key in _summary_keys())}."
        yield ""
    elif what == "localities":
        yield from ("| class | meaning |", "|---|---|")
        yield from (f"| `{name}` | {meaning} |" for name, meaning in MEANING.items())
        yield ""
    else:
        module, _, name = what.partition(":")
        yield from _class(getattr(import_module(f"localrules.{module}"), name))


def members(kind: type) -> dict[str, Any]:
    """The public methods and properties that a class defines itself."""
    own = {name: item for name, item in vars(kind).items() if not name.startswith("_")}
    return {
        name: item
        for name, item in own.items()
        if isinstance(item, classmethod | property | staticmethod) or inspect.isfunction(item)
    }


def _class(kind: type) -> Iterator[str]:
    before, sections = _parted(_doc(kind))
    yield from (_markdown(before), "")
    rows = [(names, _default(kind, names), _cell(text)) for names, text in _entries(sections.get("Attributes", ""))]
    if rows:
        wide = any(default for _, default, _ in rows)
        yield from (
            ("| attribute | by default | what it is |", "|---|---|---|")
            if wide
            else ("| attribute | what it is |", "|---|---|")
        )
        for names, default, text in rows:
            shown = ", ".join(f"`{name}`" for name in names.split(", "))
            yield f"| {shown} | {default} | {text} |" if wide else f"| {shown} | {text} |"
        yield ""
    for name, item in members(kind).items():
        if isinstance(item, property):
            yield from (f"**`{name}`**: {_markdown(_doc(item.fget))}", "")
        else:
            function = item.__func__ if isinstance(item, classmethod | staticmethod) else item
            must = " must be written" if getattr(function, "__isabstractmethod__", False) else ""
            yield from _function(function, f"**`{{signature}}`**{must}")


def _function(function: Callable[..., Any], title: str) -> Iterator[str]:
    given = inspect.signature(function)
    kept = [
        parameter.replace(annotation=_Bare(parameter.annotation))
        for name, parameter in given.parameters.items()
        if name not in ("self", "cls")
    ]
    signature = f"{function.__name__}{given.replace(parameters=kept, return_annotation=_Bare(given.return_annotation))}"
    before, sections = _parted(_doc(function))
    yield from (title.format(signature=signature), "")
    if "{signature}" not in title:
        yield from (f"`{signature}`", "")
    yield from (_markdown(before), "")
    items = [f"- `{name}`: {_markdown(text)}" for name, text in _entries(sections.get("Args", ""))]
    items += [f"- {head}: {_markdown(sections[head])}" for head in ("Returns", "Raises") if head in sections]
    if items:
        yield from (*items, "")


def _doc(item: Any) -> str:
    # Own words only: a subclass without a docstring would be given its base's.
    return inspect.cleandoc(item.__doc__ or "")


def _parted(doc: str) -> tuple[str, dict[str, str]]:
    """A docstring's text, and its sections by name."""
    before, *rest = _HEAD.split(doc)
    return before.strip(), dict(zip(rest[::2], rest[1::2], strict=True))


def _entries(section: str) -> Iterator[tuple[str, str]]:
    _, *rest = _ENTRY.split(section.split("\n\n")[0])
    yield from zip(rest[::2], (" ".join(text.split()) for text in rest[1::2]), strict=True)


def _default(kind: type, names: str) -> str:
    """What a class has where nobody says otherwise; empty where that is nothing, or depends."""
    if ", " in names or ("__dataclass_fields__" not in vars(kind) and names not in vars(kind)):
        return ""
    value = getattr(kind, names, None)
    simple = isinstance(value, bool | int | float | str | tuple | dict) and value not in ("", (), {})
    return f"`{value}`" if simple else ""


def _summary_keys() -> list[str]:
    """The keys that ``closing.summarize`` puts into a summary, in its order."""
    tree = ast.parse(Path(closing.__file__).read_text(encoding="utf-8"))
    (made,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "summarize")
    dicts = (node for node in ast.walk(made) if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict))
    keys = [key.value for node in dicts for key in node.value.keys]  # type: ignore[union-attr]
    later = [node.slice.value for node in ast.walk(made) if isinstance(node, ast.Subscript) and _is_key(node)]  # type: ignore[attr-defined]
    return [*keys, *later]


def _is_key(node: ast.Subscript) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "summary" and isinstance(node.slice, ast.Constant)


def _markdown(text: str) -> str:
    """Sphinx's roles and quotes as Markdown's; a role is shown by the last part of its name."""
    text = re.sub(r":\w+:`([^`<]+?) <[^>]+>`", r"`\1`", text)
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    return "\n\n".join(" ".join(part.split()) for part in text.replace("``", "`").split("\n\n"))


def _cell(text: str) -> str:
    return _markdown(text).replace("|", "\\|")
