"""An extension of griffe: the roles and literal blocks of reStructuredText in our docstrings, as Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":\w+:`(?:([^`<]+?) <([^>`]+)>|(~?)([^`]+))`")
_LITERAL = re.compile(r"^(.*?)[ \t]*::$", re.MULTILINE)


class Markdown(griffe.Extension):
    """Rewrites each docstring before its sections are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)


def markdown(text: str) -> str:
    """A docstring with its roles as links to what is documented, and without the marks of literal blocks."""
    return _LITERAL.sub(lambda found: f"{found[1]}:" if found[1] else "", _ROLE.sub(_link, text))


def _link(found: re.Match[str]) -> str:
    title, target, short, name = found.groups()
    target = target or name
    shown = title or (name.rpartition(".")[2] if short else name.removeprefix("localrules."))
    return f'<autoref optional identifier="{target}"><code>{shown}</code></autoref>'
