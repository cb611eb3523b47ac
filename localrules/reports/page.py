"""One page of HTML in one file: it needs no network, no script and no other file, and prints well."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.reports.images import to_data_uri
from localrules.reports.text import Inline, render_inline
from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Cell = Inline | Sequence[Inline]
"""What stands in a cell of a table: one part, or several one behind the other."""

_ALIGNED = {"l": "", "r": ' class="number"'}


class Page:
    """A page that is written from top to bottom.

    All text is escaped; parts of a line that look different are made with :class:`~localrules.reports.text.Link`,
    ``Strong``, ``Faint`` and ``Code``.

    Args:
        title: The page's heading, and its name in the browser.
        subtitle: A line below it.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self._title = title
        self._names: set[str] = set()
        self._body = [f"<header><h1>{escape(title)}</h1>"]
        if subtitle:
            self._body.append(f'<p class="subtitle">{escape(subtitle)}</p>')
        self._body.append("</header>")

    def heading(self, text: str, *, level: int = 2) -> str:
        """Begin a section.

        Returns:
            The address of the section within the page, for a ``Link``.
        """
        name = self._unique(re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "section")
        self._body.append(f'<h{level} id="{name}">{escape(text)}</h{level}>')
        return f"#{name}"

    def paragraph(self, *parts: Inline) -> None:
        """Add a paragraph."""
        self._body.append(f"<p>{render_inline(*parts)}</p>")

    def items(self, items: Sequence[Cell]) -> None:
        """Add a list with a bullet before each."""
        self._body.append("<ul>" + "".join(f"<li>{_cell(item)}</li>" for item in items) + "</ul>")

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
        sides = [_ALIGNED[letter] for letter in align or "l" * len(head)]
        top = "".join(f'<th scope="col"{side}>{escape(name)}</th>' for name, side in zip(head, sides, strict=True))
        lines = [
            "<tr>" + "".join(f"<td{side}>{_cell(cell)}</td>" for cell, side in zip(row, sides, strict=True)) + "</tr>"
            for row in rows
        ]
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._body.append(
            f'<figure class="table"><div class="wide"><table><thead><tr>{top}</tr></thead>'
            f"<tbody>{''.join(lines)}</tbody></table></div>{below}</figure>"
        )

    def figure(self, picture: Figure | Path | bytes, alt: str, *, caption: str = "") -> None:
        """Add a picture.

        Args:
            picture: A matplotlib figure, a PNG file, or a PNG's bytes. It is copied into the page.
            alt: What is to be seen, for who cannot see it.
            caption: A line below it.
        """
        below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
        self._body.append(f'<figure><img src="{to_data_uri(picture)}" alt="{escape(alt)}">{below}</figure>')

    def code(self, text: str) -> None:
        """Add lines as they would be typed or stand in a file."""
        self._body.append(f"<pre><code>{escape(text)}</code></pre>")

    def html(self) -> str:
        """The whole page."""
        style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
        body = "\n".join(self._body)
        # The policy keeps the promise: a browser fetches nothing for this page, whatever stands in it.
        return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="localrules">
<title>{escape(self._title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

    def write(self, path: Path) -> Path:
        """Write the page, whole or not at all; the folder is made if it is not there. Returns its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, self.html())
        return path

    def _unique(self, name: str) -> str:
        number, found = 1, name
        while found in self._names:
            number += 1
            found = f"{name}-{number}"
        self._names.add(found)
        return found


def _cell(cell: Cell) -> str:
    return render_inline(*cell) if isinstance(cell, list | tuple) else render_inline(cell)  # type: ignore[arg-type]
