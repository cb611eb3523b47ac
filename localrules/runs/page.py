"""The page of a run: ``index.html`` in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from localrules.auditing.in_run import InRunAudit
from localrules.callbacks.base import Plot, RunInfo
from localrules.config.overrides import RUN_METADATA
from localrules.evaluation.metrics import score_metrics
from localrules.evaluation.score_charts import (
    CALIBRATION_CAPTION,
    CONFUSIONS_CAPTION,
    calibration_chart,
    confusion_charts,
    recall_table,
)
from localrules.reports.html import Cell, Keyed, Page, code, muted, strong
from localrules.runs.charts import curve_charts, dependence_chart, diagnostic_charts, objective_chart
from localrules.tracking.metrics_table import MetricsTable
from localrules.tracking.records import PAGE
from localrules.tracking.run_folder import METRICS
from localrules.tracking.summary_panel import next_commands
from localrules.utils.formatting import duration, format_metric, memory, percent, step_time
from localrules.utils.serialization import without_none

if TYPE_CHECKING:
    from localrules.runs.summary import FinalScores

_DRAWN = ("curves", "confusion", "diagnostics", "audit")  # plots whose contents are charts of the page
_ALTS = {
    "samples": "Images of the split with their predictions; where these are wrong, the labels in brackets",
    "filters": "The filters of the first layer",
    "feature_maps": "Feature maps of a shallow, some middle and the last layer for one image",
}


def write_run_page(
    info: RunInfo,
    summary: Mapping[str, Any],
    scored: FinalScores,
    plots: Sequence[Plot],
    audit: InRunAudit | None,
) -> Path:
    """Write ``index.html`` into a run folder.

    Args:
        info: The run.
        summary: Its summary.
        scored: The scores of its last weights.
        plots: The images that were drawn.
        audit: The locality that it measured, if it did.

    Returns:
        The page's path.
    """
    seed = summary["seed"]
    of = f"{info.rule} trains {info.model} on {info.data}, seed {seed}"
    page = Page(f"{info.rule} on {info.model}", f"{info.data}, seed {seed}", of=of)
    page.facts(_facts(info, summary))
    _notes(page, info, summary, plots)
    table = MetricsTable(info.directory / METRICS)
    page.heading("Curves")
    page.charts(
        curve_charts(table, summary["majority_share"]),
        caption="Step 0 is before training. Batches are augmented and in training mode; the valid split is whole, in "
        "eval mode.",
    )
    _layers(page, info, table)
    if charts := diagnostic_charts(table):
        page.heading("Diagnostics")
        page.charts(charts, caption="Behind each row, the last value. Step 0 is before training.")
    _evaluation(page, info, scored)
    if audit is not None:
        _locality(page, info, audit)
    _images(page, plots)
    _settings(page, info)
    page.heading("Next")
    for why, command in next_commands(info, summary, info.directory):
        page.paragraph(f"{why[0].upper()}{why[1:]}:")
        page.code(command)
    return page.write(info.directory / PAGE)


def _facts(info: RunInfo, summary: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    number = summary.get
    facts = []
    if (valid := number("valid_accuracy")) is not None:
        facts.append(("Valid accuracy", percent(valid), f"majority class {percent(summary['majority_share'])}"))
    if (train := number("train_accuracy")) is not None:
        facts.append(("Train accuracy", percent(train), "on images it has seen"))
    length = f"{summary['epochs']:.3g} epochs in {duration(summary['seconds'])}"
    facts.append(("Steps", f"{summary['steps']:,}", length))
    if (seconds := number("step_seconds")) is not None:
        facts.append(("Step", step_time(seconds), f"{summary['samples_per_second']:,.0f} samples/s"))
    if (peak := number("peak_memory_mib")) is not None:
        facts.append(("Memory of a step", memory(peak), f"{memory(summary['process_peak_mib'])} the process"))
    facts.append(("Parameters", f"{summary['parameters']:,}", f"in {len(info.layers)} layers"))
    locality = number("locality")
    how = f"declared {locality['declared']}" if locality else "as declared; run --audit measures it"
    facts.append(("Locality", locality["measured"] if locality else info.locality, how))
    return facts


def _notes(page: Page, info: RunInfo, summary: Mapping[str, Any], plots: Sequence[Plot]) -> None:
    valid = summary.get("valid_accuracy")
    if valid is not None and valid <= 1.05 * max(1 / len(info.classes), summary["majority_share"]):
        page.note(strong("No better than guessing: "), "it has not learned.", warns=True)
    if not summary.get("locality", {"holds": True})["holds"]:
        page.note(strong("The class of locality does not hold: "), "see the section Locality.", warns=True)
    if (check := summary.get("leak_check")) is not None:
        limit = percent(check["max_plausible_accuracy"])
        page.note(
            strong("Too good to be true: "),
            f"the accuracy is above {limit}, the most that is published. Of {check['rows']:,} images "
            f"{check['rows'] - check['n_clean']:,} are known from training.",
            warns=True,
        )
    if summary.get("stop_reason"):
        page.note(strong("Stopped early: "), summary["stop_reason"])
    if not info.redistributable and any(plot.shows_data for plot in plots):
        page.note(
            strong("Keep this page to yourself: "),
            "it shows images of a data set that may not be redistributed.",
            warns=True,
        )


def _layers(page: Page, info: RunInfo, table: MetricsTable) -> None:
    objectives = table.objectives()
    page.heading("Layers")
    if objectives:
        page.charts(
            [objective_chart(objectives)],
            caption="Running means, each against where it began and in units of how far it went, so that layers whose "
            "objectives differ by orders of magnitude can be seen together. The legend has the absolute values at both "
            "ends.",
        )
    rows: list[list[Cell]] = []
    for layer in info.layers:
        ends = objectives[layer["name"]].ends if layer["name"] in objectives else None
        rows.append(
            [
                strong(layer["name"]),
                layer["rule"],
                _shape(layer["in_shape"]),
                _shape(layer["out_shape"]),
                Keyed(f"{layer['parameters']:,}", layer["parameters"]),
                Keyed(f"{layer['macs'] / 1e6:.2f} M", layer["macs"]),
                *(["-", "-"] if ends is None else [Keyed(format_metric(end), end) for end in ends]),
            ]
        )
    head = ["layer", "rule", "input", "output", "parameters", "MACs", "objective, first", "last"]
    page.table(head, rows, align="llrrrrrr", caption="In forward order. MACs are those of one image's forward pass.")


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _evaluation(page: Page, info: RunInfo, scored: FinalScores) -> None:
    name = f"{info.rule}, {scored.split} split"
    found = {name: [score_metrics(info.classes, scored.scores)]}
    page.heading("Evaluation")
    page.charts(
        [*confusion_charts(found), calibration_chart(found)],
        caption=f"{CONFUSIONS_CAPTION}. {CALIBRATION_CAPTION}. Calibration error: "
        f"{found[name][0]['expected_calibration_error']:.3f}.",
        legend=False,
        of=f"{info.rule} trains {info.model} on {info.data}: {scored.images}",
    )
    head, rows = recall_table(found)
    if len(head) <= 13:
        cells: list[list[Cell]] = [[cell or muted("-") for cell in row] for row in rows]
        page.table(head, cells, align="l" + "r" * (len(head) - 1), caption="Per-class recall in percent.")


def _locality(page: Page, info: RunInfo, audit: InRunAudit) -> None:
    page.heading("Locality")
    page.paragraph(
        strong(audit.measured),
        f", measured in this run at steps {', '.join(map(str, sorted(audit.points)))}; declared {audit.declared}"
        + (f". It does not hold: {audit.reason}." if audit.reason else "."),
    )
    page.charts([dependence_chart([layer["name"] for layer in info.layers], audit)])


def _images(page: Page, plots: Sequence[Plot]) -> None:
    shown = [plot for plot in plots if plot.name not in _DRAWN]
    if shown:
        page.heading("Images")
    for plot in shown:
        page.figure(plot.path, _ALTS.get(plot.name, f"{plot.name}, drawn by the rule"))


def _settings(page: Page, info: RunInfo) -> None:
    page.heading("Settings")
    settings = {key: value for key, value in info.config.items() if key not in RUN_METADATA}
    with page.details("All settings, as in ", code("config.toml")):
        page.code(tomli_w.dumps(without_none(settings)).strip())
    environment = {**info.config["environment"], **{"data": info.config["trained_on"]["origin"]}}
    rows = [[key, str(value)] for key, value in environment.items() if isinstance(value, str | int | float)]
    with page.details("Machine and versions"):
        page.table(["", "this run"], rows, sortable=False)
