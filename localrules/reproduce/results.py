"""The tables of what was reproduced: one an experiment, which grows row by row."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from localrules.reproduce.result import COLUMNS, CaseResult
from localrules.utils.atomic_io import write_atomic

RESULTS = "results.csv"

ResultRow = dict[str, str]


def read_results(folder: Path) -> list[ResultRow]:
    """The lines of an experiment's table, whichever release wrote them; none where it has no table yet."""
    path = folder / RESULTS
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [{column: line.get(column) or "" for column in COLUMNS} for line in csv.DictReader(io.StringIO(text))]


def upsert(outcome: CaseResult, folder: Path) -> None:
    """Put a row into its experiment's table, ``<folder>/<experiment>/results.csv``.

    It takes the place of the same row of the same model, data, settings and budget; all others stay. A row that was
    left out takes no figures away that were found before.
    """
    place = folder / outcome.experiment
    place.mkdir(parents=True, exist_ok=True)
    new = outcome.as_csv_row()
    lines = read_results(place)
    same = [index for index, line in enumerate(lines) if _key(line) == _key(new)]
    if same:
        lines[same[0]] = lines[same[0]] if new["missing"] and lines[same[0]]["ours"] else new
    else:
        lines.append(new)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    table.writerows(lines)
    write_atomic(place / RESULTS, text.getvalue())


def _key(line: ResultRow) -> tuple[str, ...]:
    return tuple(line[column] for column in ("row", "model", "data", "budget", "differs"))
