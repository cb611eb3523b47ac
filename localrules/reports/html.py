"""HTML reports: one self-contained page, rendered with jinja2 from ``templates/``.

A page needs no network and no other file, and prints well. Its script sorts tables, and nothing is missing without it.
jinja2 escapes all text, so that nothing a rule or a path is called can become markup.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from localrules.reports.charts import Chart, XYChart
from localrules.reports.drawing import geometry
from localrules.reports.marks import mark_path, style_class
from localrules.utils import palette
from localrules.utils.atomic_io import write_atomic

_CELLS = {"l": "", "n": "nowrap", "r": "number"}
_LONG = 26  # letters of a name that may be broken into lines in a table
_BROAD = 900  # pixels of an image that cannot be read on a telephone as a whole
_PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Keyed:
    """A cell of a table that is sorted by a number.

    Attributes:
        content: What it shows.
        key: The number; ``None`` comes last.
    """

    content: str | Sequence[str]
    key: float | None


Cell = str | Sequence[str] | Keyed
"""The content of a table's cell or of a list's item: one part, or several, one after the other."""


def link(text: str, to: str) -> Markup:
    """A link within a line.

    Args:
        text: Its text.
        to: A URL (``https://...``), a section of the page (``#...``), or a path relative to the page.
    """
    url = to if to.startswith(("https://", "http://", "#")) else quote(os.fsencode(to))
    return Markup('<a href="{}">{}</a>').format(url, text)


def strong(text: str) -> Markup:
    """Emphasised text within a line."""
    return Markup("<strong{}>{}</strong>").format(Markup(' class="long"') if len(text) > _LONG else "", text)


def muted(text: str) -> Markup:
    """Secondary text within a line: a unit, an interval, a remark."""
    return Markup('<span class="muted">{}</span>').format(text)


def code(text: str) -> Markup:
    """A name or a command within a line."""
    return Markup("<code>{}</code>").format(text)


def badge(text: str, *, strong: bool = False) -> Markup:
    """A short mark behind a name; ``strong`` for the best."""
    return Markup('<span class="{}">{}</span>').format("badge best" if strong else "badge", text)


class Page:
    """A page, filled from top to bottom.

    All text is escaped; :func:`link`, :func:`strong`, :func:`muted`, :func:`code` and :func:`badge` format parts of a
    line. A list of its sections is made where there are three or more.

    Args:
        title: The page's heading, also its title in the browser.
        subtitle: A line below it.
        of: What its charts show, such as model, data and seeds; below each of them.
    """

    def __init__(self, title: str, subtitle: str = "", *, of: str = "") -> None:
        self._title, self._subtitle, self._of = title, subtitle, of
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

    def note(self, *parts: str, warns: bool = False) -> None:
        """Add a paragraph that stands out."""
        self._add("note", parts=parts, warns=warns)

    def items(self, items: Sequence[str | Sequence[str]]) -> None:
        """Add a bullet list."""
        self._add("list", items=[_parts(item) for item in items])

    def facts(self, facts: Sequence[tuple[str, str, str]]) -> None:
        """Add a row of metrics to be seen first: of each a name, the value, and a remark or nothing."""
        self._add("facts", facts=facts)

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[Cell]],
        *,
        align: str = "",
        caption: str = "",
        best: Sequence[int] = (),
        sortable: bool = True,
    ) -> None:
        """Add a table.

        Args:
            head: The columns' names. A first column of numbers without a name is the place in a ranking.
            rows: A cell for each column.
            align: A letter for each column: ``l`` for text, ``n`` for text in one line, ``r`` for numbers.
            caption: A line below it.
            best: Indices of rows that are marked.
            sortable: Whether a reader can sort it by a column.

        Raises:
            ValueError: A row or ``align`` has another length than ``head``.
        """
        classes = [_CELLS[letter] for letter in align or "l" * len(head)]
        self._add(
            "table",
            head=list(zip(head, classes, strict=True)),
            rows=[[(*_cell(cell), name) for cell, name in zip(row, classes, strict=True)] for row in rows],
            caption=caption,
            best=set(best),
            sortable=sortable and len(rows) > 1,
            ranked=align.startswith("r") and not head[0],
        )

    def charts(self, charts: Sequence[Chart], *, caption: str = "", legend: bool = True, of: str = "") -> None:
        """Add charts beside each other, or below where the page is narrow.

        Args:
            charts: What is drawn.
            caption: A line below them.
            legend: Whether their series are named below them; a series is named once.
            of: What they show, if that is not what the page's other charts do.
        """
        panels = [geometry(chart) for chart in charts]
        self._add(
            "charts", panels=panels, keys=_keys(charts) if legend else [], caption=caption, of=of or self._of
        )  # fmt: skip

    def figure(self, image: Path | bytes, alt: str, *, caption: str = "") -> None:
        """Add an image.

        Args:
            image: A PNG file, or a PNG's bytes. It is copied into the page.
            alt: A description, for readers who do not see it.
            caption: A line below it.

        Raises:
            ValueError: The bytes are not a PNG.
        """
        content = image.read_bytes() if isinstance(image, Path) else image
        if not content.startswith(_PNG):
            raise ValueError("an image in a page is a PNG")
        source = f"data:image/png;base64,{b64encode(content).decode()}"
        width = int.from_bytes(content[16:20], "big")
        self._add("figure", source=source, alt=alt, caption=caption, broad=width > _BROAD)

    def code(self, text: str) -> None:
        """Add a block of code."""
        self._add("code", text=text)

    @contextmanager
    def details(self, *summary: str) -> Iterator[None]:
        """A part that is hidden behind a line until the reader opens it."""
        self._add("open", parts=summary)
        yield
        self._add("close")

    def html(self) -> str:
        """The whole page."""
        return _environment().get_template("page.html").render(
            title=self._title, subtitle=self._subtitle, blocks=self._blocks, contents=self._contents(), **_assets()
        )  # fmt: skip

    def write(self, path: Path) -> Path:
        """Write the page atomically, creating its folder if needed. Returns its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.html())
        return path

    def _contents(self) -> list[dict[str, Any]]:
        sections = [block for block in self._blocks if block["kind"] == "heading" and block["level"] == 2]
        return sections if len(sections) > 2 else []

    def _add(self, kind: str, **content: Any) -> None:
        self._blocks.append({"kind": kind, **content})

    def _unique_id(self, name: str) -> str:
        number, unique = 1, name
        while unique in self._ids:
            number += 1
            unique = f"{name}-{number}"
        self._ids.add(unique)
        return unique


def _keys(charts: Sequence[Chart]) -> list[dict[str, str]]:
    """The legend: a series of several charts once, and none for a chart whose only series needs no name."""
    named = {one.label: one for chart in charts if isinstance(chart, XYChart) for one in chart.series if one.label}
    return [
        {
            "label": one.label,
            "note": one.note,
            "classes": style_class(one.style, one.depth),
            "mark": mark_path(one.style, 11, 7, 4.2) if one.marks else "",
            "line": "M1 7H21" if one.line else "",
        }
        for one in named.values()
    ]


def _cell(cell: Cell) -> tuple[Sequence[str], str | None]:
    if not isinstance(cell, Keyed):
        return _parts(cell), None
    return _parts(cell.content), "" if cell.key is None else f"{cell.key:.10g}"


def _parts(content: str | Sequence[str]) -> Sequence[str]:
    return [content] if isinstance(content, str) else content


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("localrules.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _assets() -> dict[str, Any]:
    """Style and script, and the policy that lets a browser use these alone: they are known by their hashes.

    A page is a file, so a nonce in it would be known to whatever got into the page; a hash fits nothing but its text.
    """
    environment = _environment()
    style = environment.get_template("style.css").render(palette=palette)
    script = environment.get_template("page.js").render()
    hashes = [b64encode(sha256(text.encode()).digest()).decode() for text in (style, script)]
    return {
        "style": Markup(style),
        "script": Markup(script),
        "policy": f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'",
    }
