"""One page of everything in a folder: each experiment's claim, its table, its plots."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from localrules.evaluation.metric import metric_entries
from localrules.evaluation.score_charts import (
    CALIBRATION_CAPTION,
    CAPTION,
    CONFUSIONS_CAPTION,
    RECALLS_CAPTION,
    calibration_chart,
    confusion_charts,
    recall_table,
    score_table,
)
from localrules.reports.charts import Interval, IntervalChart, charts_from_json
from localrules.reports.html import Cell, Keyed, Page, badge, link, muted, strong
from localrules.reports.scales import Axis
from localrules.reproduce.artifacts import ARTIFACTS, Artifact, ArtifactWriter, read_artifacts
from localrules.reproduce.result import MATCHES, POINT, RESULTS, ResultRow, ranking_sentences, read_results
from localrules.utils.formatting import duration

if TYPE_CHECKING:
    from localrules.reproduce.spec import Experiment

PAGE = "index.html"
_HEAD = ("", "ours", "seeds", "published", "difference", "verdict", "budget", "training", "machine", "source")


def write_page(folder: Path, known: Mapping[str, tuple[str, Experiment]], command: str) -> Path:
    """Write ``index.html`` of every experiment in a folder.

    Args:
        folder: The ``--out``.
        known: Summary and content of experiments, by name; of other experiments only the table is shown.
        command: The command that makes the page again.

    Returns:
        The page's path.
    """
    places = sorted({path.parent for name in (RESULTS, ARTIFACTS) for path in folder.glob(f"*/{name}")}, key=_natural)
    page = Page("Published, and reproduced", "Published results beside ours")
    page.paragraph(
        f"A mean within {POINT:g} point of the published value matches it. A run with a smaller budget than the "
        "published one is not comparable with it; other deviations are listed below its table."
    )
    if any(artifact.private for place in places for artifact in read_artifacts(place)):
        page.note(
            strong("Keep this page to yourself: "),
            "it shows images of a data set that may not be redistributed.",
            warns=True,
        )
    for place in places:
        summary, experiment = known.get(place.name, ("", None))
        page.heading(place.name)
        if summary:
            page.paragraph(summary)
        if experiment and experiment.claim:
            page.paragraph(strong("The claim: "), experiment.claim)
        shown = read_artifacts(place)
        for artifact in shown:
            if not artifact.file:
                page.paragraph(strong("Measured: "), artifact.caption)
        _table(page, read_results(place))
        for artifact in shown:
            if artifact.file:
                _artifact(page, place, artifact)
        for note in experiment.notes if experiment else ():
            page.paragraph(note)
    page.heading("Reproduce this page")
    page.code(command)
    page.paragraph("Finished runs are not repeated, and an interrupted run resumes where it stopped.")
    return page.write(folder / PAGE)


def _table(page: Page, lines: list[ResultRow]) -> None:
    if not lines:
        return
    if chart := published_chart(lines):
        page.charts(
            [chart],
            caption="The mark is our mean, the line spans our runs, and a bar is a published value.",
            of="; ".join(dict.fromkeys(f"{line['model']} on {line['data']}, seeds from 0" for line in lines)),
        )
    page.table(
        _HEAD,
        [_row(line) for line in lines],
        align="lrrrrlllll",
        best=[place for place, line in enumerate(lines) if line["verdict"] == MATCHES],
    )
    for differs in dict.fromkeys(line["differs"] for line in lines if line["differs"]):
        names = dict.fromkeys(line["row"] for line in lines if line["differs"] == differs)
        page.paragraph(strong("Not as published: "), differs, muted(f" ({'; '.join(names)})"))
    for wants in dict.fromkeys(line["missing"] for line in lines if line["missing"]):
        names = dict.fromkeys(line["row"] for line in lines if line["missing"] == wants)
        page.paragraph(strong("Left out: "), "; ".join(names), ", since ", wants)


def published_chart(lines: Sequence[ResultRow]) -> IntervalChart | None:
    """Our values beside the published ones; ``None`` where there is nothing to be held against each other."""
    rows = []
    known = any(line["published"] for line in lines)
    for index, line in enumerate(lines):
        ours, published = _number(line["ours"]), _number(line["published"])
        if ours is None and published is None:
            continue
        several = line["low"] != line["high"]
        written = f"{line['ours'] or '-'} / {line['published'] or '-'}" if known else line["ours"]
        low, high = (_number(line[end]) if several else None for end in ("low", "high"))
        rows.append(Interval(line["row"], ours, low, high, written, target=published, style=index))
    if not any(row.value is not None for row in rows):
        return None
    return IntervalChart("Ours / published, in percent" if known else "Ours, in percent", Axis("percent"), rows)


def _number(text: str) -> float | None:
    return float(text) if text else None


def _artifact(page: Page, place: Path, artifact: Artifact) -> None:
    path = place / artifact.file
    if path.suffix == ".png":
        page.figure(path, artifact.caption, caption=artifact.caption)
        return
    if path.suffix == ".json":
        page.charts(charts_from_json(path.read_text(encoding="utf-8")), caption=artifact.caption)
        return
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    numeric = [all(_is_number(row[column]) for row in rows) for column in range(len(head))]
    page.table(head, rows, align="".join("lr"[number] for number in numeric), caption=artifact.caption)


def _is_number(text: str) -> bool:
    return not text or re.fullmatch(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", text) is not None


def _row(line: ResultRow) -> list[Cell]:
    several = line["low"] != line["high"]
    seconds = _number(line["seconds"])
    return [
        [strong(line["row"]), muted(f" {line['model']} on {line['data']}")],
        [line["ours"] or "-", *([muted(f" {line['low']} to {line['high']}")] if several else [])],
        line["seed_count"],
        line["published"] or "-",
        line["difference"] or "-",
        badge(line["verdict"], strong=line["verdict"] == MATCHES),
        line["budget"],
        Keyed("-" if seconds is None else duration(seconds), seconds),
        muted(line["machine"]),
        _linked(line["source"]),
    ]


def _linked(text: str) -> list[str]:
    """Text with its addresses as links, which are named by their hosts: whole they would be wider than the table."""
    parts = re.split(r"(https?://\S+)", text)
    return [link(urlsplit(part).netloc, part) if index % 2 else part for index, part in enumerate(parts) if part]


def _natural(place: Path) -> list[tuple[int, str]]:
    """Figure 6 before figure 10."""
    return [(int(part or 0), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", place.name)]


def write_evaluation(artifacts: ArtifactWriter) -> None:
    """Compare the cases: tables of all metrics and recalls; plots of confusion and calibration."""
    for text in ranking_sentences(artifacts.outcomes):
        artifacts.text(text)
    scored = {outcome.case.name: outcome.scores for outcome in artifacts.outcomes if outcome.scores}
    if not scored:
        return
    artifacts.table("evaluation", CAPTION, *score_table(scored, metric_entries(artifacts.registry)))
    artifacts.table("recalls", RECALLS_CAPTION, *recall_table(scored))
    artifacts.charts("calibration", CALIBRATION_CAPTION, [calibration_chart(scored)])
    artifacts.charts("confusion", CONFUSIONS_CAPTION, confusion_charts(scored))
