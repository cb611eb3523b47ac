"""HTML reports: one self-contained page, rendered with jinja2 from ``templates/``.

A page needs no network, no script and no other file, and prints well. jinja2 escapes all text, so that nothing a rule
or a path is called can become markup.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = str | Sequence[str]
"""The content of a table's cell or of a list's item: one part, or several, one after the other."""

_PNG = b"\x89PNG\r\n\x1a\n"


def link(text: str, to: str) -> Markup:
    """A link within a line.

    Args:
        text: Its text.
        to: A URL (``https://...``), a section of the page (``#...``), or a path relative to the page.
    """
    url = to if to.startswith(("https://", "http://", "#")) else quote(to)
    return Markup('<a href="{}">{}</a>').format(url, text)


def strong(text: str) -> Markup:
    """Emphasised text within a line."""
    return Markup("<strong>{}</strong>").format(text)


def muted(text: str) -> Markup:
    """Secondary text within a line: a unit, an interval, a remark."""
    return Markup('<span class="muted">{}</span>').format(text)


def code(text: str) -> Markup:
    """A name or a command within a line."""
    return Markup("<code>{}</code>").format(text)


class Page:
    """A page, filled from top to bottom.

    All text is escaped; :func:`link`, :func:`strong`, :func:`muted` and :func:`code` format parts of a line.

    Args:
        title: The page's heading, also its title in the browser.
        subtitle: A line below it.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title, self._subtitle = title, subtitle
        self._blocks: list[dict[str, Any]] = []
        self._ids: set[str] = set()

    def heading(self, text: str, *, level: int = 2) -> str:
        """Begin a section.

        Returns:
            The section's address within the page, for :func:`link`.
        """
        name = self._unique_id(re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section")
        self._add("heading", text=text, level=level, id=name)
        return f"#{name}"

    def paragraph(self, *parts: str) -> None:
        """Add a paragraph."""
        self._add("paragraph", parts=parts)

    def items(self, items: Sequence[Cell]) -> None:
        """Add a bullet list."""
        self._add("list", items=[_parts(item) for item in items])

    def table(self, head: Sequence[str], rows: Sequence[Sequence[Cell]], *, align: str = "", caption: str = "") -> None:
        """Add a table.

        Args:
            head: The columns' names.
            rows: A cell for each column.
            align: A letter for each column: ``l`` for text, ``r`` for numbers; all text if empty.
            caption: A line below it.

        Raises:
            ValueError: A row or ``align`` has another length than ``head``.
        """
        numeric = [letter == "r" for letter in align or "l" * len(head)]
        self._add(
            "table",
            head=list(zip(head, numeric, strict=True)),
            rows=[list(zip(map(_parts, row), numeric, strict=True)) for row in rows],
            caption=caption,
        )

    def figure(self, image: Figure | Path | bytes, alt: str, *, caption: str = "") -> None:
        """Add a plot or an image.

        Args:
            image: A matplotlib figure, a PNG file, or a PNG's bytes. It is copied into the page.
            alt: A description, for readers who do not see it.
            caption: A line below it.
        """
        self._add("figure", source=to_data_uri(image), alt=alt, caption=caption)

    def code(self, text: str) -> None:
        """Add a block of code."""
        self._add("code", text=text)

    def html(self) -> str:
        """The whole page."""
        return _environment().get_template("page.html").render(
            title=self._title, subtitle=self._subtitle, blocks=self._blocks
        )  # fmt: skip

    def write(self, path: Path) -> Path:
        """Write the page atomically, creating its folder if needed. Returns its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.html())
        return path

    def _add(self, kind: str, **content: Any) -> None:
        self._blocks.append({"kind": kind, **content})

    def _unique_id(self, name: str) -> str:
        number, unique = 1, name
        while unique in self._ids:
            number += 1
            unique = f"{name}-{number}"
        self._ids.add(unique)
        return unique


def to_data_uri(image: Figure | Path | bytes) -> str:
    """An image as a ``data:`` URI.

    Args:
        image: A matplotlib figure, which stays sharp at every size; a PNG file; or a PNG's bytes.

    Raises:
        ValueError: The bytes are not a PNG.
    """
    if isinstance(image, Path):
        image = image.read_bytes()
    if not isinstance(image, bytes):
        return _encode("image/svg+xml", _svg(image))
    if not image.startswith(_PNG):
        raise ValueError("an image in a page is a PNG or a matplotlib figure")
    return _encode("image/png", image)


def _svg(figure: Figure) -> bytes:
    from matplotlib import rc_context

    drawn = BytesIO()
    # Text as outlines looks alike on every machine; a fixed salt and no date make the same plot the same bytes.
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "localrules"}):
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    return drawn.getvalue()


def _encode(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{b64encode(content).decode()}"


def _parts(cell: Cell) -> Sequence[str]:
    return [cell] if isinstance(cell, str) else cell


@cache
def _environment() -> Environment:
    return Environment(loader=PackageLoader("localrules.reports"), autoescape=True, undefined=StrictUndefined)
