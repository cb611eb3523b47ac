"""One page of everything in a folder: each experiment's claim, its table, its plots."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from localrules.evaluation.comparison_plots import (
    CAPTION,
    CONFUSIONS_CAPTION,
    RECALLS_CAPTION,
    RELIABILITY_CAPTION,
    plot_confusions,
    plot_recalls,
    plot_reliability,
    score_table,
)
from localrules.evaluation.metric import metric_entries
from localrules.reports.html import Cell, Page, code, link, muted, strong
from localrules.reproduce.artifacts import ARTIFACTS, Artifact, ArtifactWriter, read_artifacts
from localrules.reproduce.result import POINT, RESULTS, ResultRow, ranking_sentences, read_results
from localrules.utils.formatting import duration
from localrules.utils.plotting import save_figure

if TYPE_CHECKING:
    from localrules.reproduce.spec import Experiment

PAGE = "index.html"
_HEAD = (
    "", "on", "ours", "range", "seeds", "published", "difference", "verdict", "budget", "training", "machine", "source",
)  # fmt: skip


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
        page.paragraph(
            strong("Keep this page to yourself: "), "it shows images of a data set that may not be redistributed."
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
    page.table(_HEAD, [_row(line) for line in lines], align="llrrrrrlllll")
    for differs in dict.fromkeys(line["differs"] for line in lines if line["differs"]):
        names = dict.fromkeys(line["row"] for line in lines if line["differs"] == differs)
        page.paragraph(strong("Not as published: "), differs, muted(f" ({'; '.join(names)})"))
    for wants in dict.fromkeys(line["missing"] for line in lines if line["missing"]):
        names = dict.fromkeys(line["row"] for line in lines if line["missing"] == wants)
        page.paragraph(strong("Left out: "), "; ".join(names), ", since ", wants)


def _artifact(page: Page, place: Path, artifact: Artifact) -> None:
    path = place / artifact.file
    if path.suffix == ".png":
        page.figure(path, artifact.caption, caption=artifact.caption)
        return
    with path.open(encoding="utf-8", newline="") as file:
        head, *rows = csv.reader(file)
    numeric = [all(_is_number(row[column]) for row in rows) for column in range(len(head))]
    page.table(head, rows, align="".join("lr"[number] for number in numeric), caption=artifact.caption)


def _is_number(text: str) -> bool:
    return not text or re.fullmatch(r"[-+]?\d[\d.,]*(e[-+]?\d+)?", text) is not None


def _row(line: ResultRow) -> list[Cell]:
    return [
        strong(line["row"]),
        [code(line["model"]), ", ", line["data"]],
        line["ours"] or "-",
        f"{line['low']} to {line['high']}" if line["low"] != line["high"] else "-",
        line["seeds"],
        line["published"] or "-",
        line["difference"] or "-",
        strong(line["verdict"]),
        line["budget"],
        duration(float(line["seconds"])) if line["seconds"] else "-",
        muted(line["machine"]),
        _linked(line["source"]),
    ]


def _linked(text: str) -> list[str]:
    """Text with its addresses as links."""
    parts = re.split(r"(https?://\S+)", text)
    return [link(part, part) if index % 2 else part for index, part in enumerate(parts) if part]


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
    artifacts.table("recalls", RECALLS_CAPTION, *plot_recalls(scored))
    artifacts.plot("confusion", CONFUSIONS_CAPTION, lambda path: save_figure(plot_confusions(scored), path))
    artifacts.plot("calibration", RELIABILITY_CAPTION, lambda path: save_figure(plot_reliability(scored), path))
