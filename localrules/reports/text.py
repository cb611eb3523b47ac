"""Words within a line: every text is escaped, so nothing that a rule or a path is called can become markup."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from urllib.parse import quote


@dataclass(frozen=True)
class Link:
    """Words that lead somewhere.

    Attributes:
        text: The words.
        to: An address (``https://...``), a place on the page (``#...``), or a path relative to the page.
    """

    text: str
    to: str


@dataclass(frozen=True)
class Strong:
    """Words that stand out."""

    text: str


@dataclass(frozen=True)
class Muted:
    """Words that stand back: a unit, an interval, a remark."""

    text: str


@dataclass(frozen=True)
class Code:
    """A name or a command within a line."""

    text: str


Inline = str | Link | Strong | Muted | Code


def render_inline(*parts: Inline) -> str:
    """The parts as HTML, one behind the other."""
    return "".join(_render_part(part) for part in parts)


def _render_part(part: Inline) -> str:
    match part:
        case Link(text, to):
            return f'<a href="{escape(_link_target(to))}">{escape(text)}</a>'
        case Strong(text):
            return f"<strong>{escape(text)}</strong>"
        case Muted(text):
            return f'<span class="faint">{escape(text)}</span>'
        case Code(text):
            return f"<code>{escape(text)}</code>"
    return escape(part)


def _link_target(to: str) -> str:
    return to if to.startswith(("https://", "http://", "#")) else quote(to)
