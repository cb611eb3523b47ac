"""The folder of what was reproduced: a table of each experiment, which grows row by row, and one page of all."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.files import write_atomic
from localrules.pages.page import Cell, Page
from localrules.pages.text import Faint, Inline, Link, Strong
from localrules.reproduce.outcome import COLUMNS, POINT, Outcome
from localrules.tracking.readable import duration

if TYPE_CHECKING:
    from localrules.reproduce.experiment import Experiment

RESULTS = "results.csv"
PAGE = "index.html"

Line = dict[str, str]


def read(folder: Path) -> list[Line]:
    """The lines of an experiment's table; none where it has no table yet."""
    path = folder / RESULTS
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))) if path.exists() else []


def keep(outcome: Outcome, folder: Path) -> None:
    """Put a row into its experiment's table, ``<folder>/<experiment>/results.csv``.

    It takes the place of the same row at the same budget; other rows, and other budgets, stay.
    """
    place = folder / outcome.experiment
    place.mkdir(parents=True, exist_ok=True)
    new = outcome.line()
    lines = read(place)
    same = [index for index, line in enumerate(lines) if _key(line) == _key(new)]
    if same:
        lines[same[0]] = new
    else:
        lines.append(new)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(lines)
    write_atomic(place / RESULTS, text.getvalue())


def write_page(folder: Path, known: Mapping[str, tuple[str, Experiment]], command: str) -> Path:
    """Write ``index.html`` of every table in a folder.

    Args:
        folder: Where :func:`keep` kept them.
        known: Summary and notes of the experiments that were run, by name; another one's table is shown without.
        command: The line that was typed.

    Returns:
        The page's path.
    """
    page = Page("Published, and reproduced", "Each figure of the literature beside ours")
    page.paragraph(
        f"A mean within {POINT:g} point of the published figure matches it. A run with a smaller budget than the "
        "published one is not comparable with it; in what else it differs is said below its table."
    )
    for place in sorted(path.parent for path in folder.glob(f"*/{RESULTS}")):
        summary, experiment = known.get(place.name, ("", None))
        page.heading(place.name)
        if summary:
            page.paragraph(summary)
        head = ["", "ours", "range", "seeds", "published", "difference", "verdict", "budget", "training", "machine"]
        page.table([*head, "source"], [_row(line) for line in read(place)], align="lrrrrrlllll")
        lines = {line["differs"]: None for line in read(place) if line["differs"]}
        for differs in lines:
            names = dict.fromkeys(line["row"] for line in read(place) if line["differs"] == differs)
            page.paragraph(Strong("Not as published: "), differs, Faint(f" ({'; '.join(names)})"))
        for note in experiment.notes if experiment else ():
            page.paragraph(note)
    page.heading("To do it again")
    page.code(command)
    page.paragraph("Runs that are done are not repeated, and an interrupted one goes on where it stopped.")
    return page.write(folder / PAGE)


def _key(line: Line) -> tuple[str, str]:
    return line["row"], line["budget"]


def _row(line: Line) -> list[Cell]:
    return [
        Strong(line["row"]),
        line["ours"] or "-",
        f"{line['low']} to {line['high']}" if line["low"] != line["high"] else "-",
        line["seeds"],
        line["published"],
        line["difference"],
        Strong(line["verdict"]),
        line["budget"],
        duration(float(line["seconds"])) if line["seconds"] else "-",
        Faint(line["machine"]),
        _linked(line["source"]),
    ]


def _linked(text: str) -> list[Inline]:
    """Text with its addresses as links."""
    parts = re.split(r"(https?://\S+)", text)
    return [Link(part, part) if index % 2 else part for index, part in enumerate(parts) if part]
