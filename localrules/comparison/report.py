"""The page of a comparison."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tomli_w

from localrules.comparison.comparison import Comparison
from localrules.comparison.plots import learning_curves
from localrules.comparison.results import RuleResult, SeedStats
from localrules.comparison.scorer import SPLIT
from localrules.config.diff import differing_settings, without_incidental
from localrules.core.locality import LOCALITY_DESCRIPTIONS
from localrules.evaluation import comparison_plots as together
from localrules.reports.html import Cell, Page, code, link, muted, strong
from localrules.utils.bootstrap import MEAN_RESAMPLES, Difference
from localrules.utils.formatting import duration, memory, percent, step_time

_NONE = muted("-")
_ENVIRONMENT = ("localrules", "python", "torch", "numpy", "system", "machine", "processor", "instructions", "device")
_CURVES = "curves.png"


def write(comparison: Comparison, out: Path, command: str | None) -> Path:
    """Write ``index.html`` into a folder.

    Args:
        comparison: What to show.
        out: The folder.
        command: The command line that makes the page again, if one does.

    Returns:
        The page's path.
    """
    page = Page(_title(comparison), _subtitle(comparison))
    _table(page, comparison)
    page.heading("Learning curves")
    labels = ", ".join(one.label for one in comparison.results)
    page.figure(
        learning_curves(comparison.results),
        f"Accuracy on the {SPLIT} split against steps and against seconds, for {labels}",
        caption="Mean over seeds; the band spans the range. Time is steps times the median time of "
        "a step: evaluation and checkpoints are not included.",
    )
    _clean(page, comparison)
    _evaluation(page, comparison)
    for one in comparison.results:
        _section(page, one, out)
    _settings(page, comparison)
    if command is not None:
        page.heading("Reproduce this page")
        page.code(command)
        page.paragraph("Finished runs are not repeated, and an interrupted run resumes where it stopped.")
    return page.write(out / "index.html")


def _title(comparison: Comparison) -> str:
    *most, last = [one.label for one in comparison.results]
    return f"{', '.join(most)} and {last}" if most else last


def _subtitle(comparison: Comparison) -> str:
    runs = [run for one in comparison.results for run in one.runs]
    models = ", ".join(dict.fromkeys(run.config.model.name for run in runs))
    data = ", ".join(dict.fromkeys(run.config.data.name for run in runs))
    seeds = len({run.config.seed for run in runs})
    return f"{models} on {data}, {seeds} seed{'s'[: seeds != 1]}, {len(runs)} run{'s'[: len(runs) != 1]}"


def _table(page: Page, comparison: Comparison) -> None:
    against = comparison.control.label
    head = ["rule", "seeds", f"{SPLIT} accuracy", f"to {against}", "train accuracy"]
    head += ["step", "training", "memory", "parameters", "locality"]
    rows = [_row(one, comparison) for one in comparison.results]
    page.table(
        head,
        rows,
        align="lrrrrrrrrl",
        caption=f"Accuracies are those of the last weights: mean, standard deviation and range over seeds. "
        f"The difference to {against} is in points, with a 95 % interval from a paired bootstrap over the images of "
        f"the {SPLIT} split ({MEAN_RESAMPLES:,} resamples; the seeds are taken as they are). Step: the median; memory: "
        "the allocator's peak in a training step. The runs were timed one after the other; localrules bench lets rules "
        "take turns. Locality is what the rule declares, or measured in the lab (a few steps on small images), "
        "or measured in the run (run --audit): see localrules audit.",
    )
    for label, found in comparison.mismatches.items():
        page.paragraph(
            strong(f"{label} does not share its {' and '.join(found)} with {against}: "),
            "their accuracies cannot be compared.",
        )
    for note in comparison.notes:
        page.paragraph(strong("Note: "), note)
    classes = {one.locality for one in comparison.results if one.locality is not None}
    page.items([(strong(name), f": {meaning}") for name, meaning in LOCALITY_DESCRIPTIONS.items() if name in classes])


def _row(one: RuleResult, comparison: Comparison) -> list[Cell]:
    seconds, parameters = one.stats("seconds"), one.parameters
    name: list[str] = [strong(one.label)]
    for what in comparison.mismatches.get(one.label, []):
        run = one.runs[0]
        name.append(muted(f" other {what}: {run.config.model.name if what == 'model' else run.config.data.name}"))
    return [
        name,
        str(len(one.runs)),
        _accuracy(one.stats("valid_accuracy")),
        _difference(comparison.differences.get(one.label)),
        _accuracy(one.stats("train_accuracy")),
        step_time(one.step_seconds) if one.step_seconds is not None else _NONE,
        duration(seconds.mean) if seconds else _NONE,
        memory(one.peak_memory_mib) if one.peak_memory_mib is not None else _NONE,
        f"{parameters:,}" if parameters is not None else _NONE,
        (one.locality, muted(f" {one.proof}")) if one.locality and one.proof else _NONE,
    ]


def _accuracy(spread: SeedStats | None) -> Cell:
    if spread is None:
        return _NONE
    if spread.low == spread.high:
        return percent(spread.mean)
    return percent(spread.mean), muted(f" ± {100 * spread.std:.1f} ({100 * spread.low:.1f} to {100 * spread.high:.1f})")


def _difference(found: Difference | None) -> Cell:
    if found is None:
        return _NONE
    return f"{100 * found.mean:+.1f}", muted(f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]")


def _clean(page: Page, comparison: Comparison) -> None:
    if not comparison.clean:
        return
    page.heading("Without images known from training")
    page.table(
        ["rule", "images", "accuracy", f"to {comparison.control.label}"],
        [
            [strong(label), f"{left.images:,}", percent(left.accuracy), _difference(left.difference)]
            for label, left in comparison.clean.items()
        ],
        align="lrrr",
        caption=f"The images of the {SPLIT} split of which no copy, no flipped copy and no other copy of the same "
        "photograph was trained on: see localrules eval --leak-check. Mean over seeds; intervals as above.",
    )


def _evaluation(page: Page, comparison: Comparison) -> None:
    if not comparison.scores:
        return
    page.heading("Evaluation")
    for (head, rows), caption in (
        (together.score_table(comparison.scores, comparison.metrics), together.CAPTION),
        (together.plot_recalls(comparison.scores), together.RECALLS_CAPTION),
    ):
        page.table(
            head,
            [[cell or _NONE for cell in row] for row in rows],
            align="l" + "r" * (len(head) - 1),
            caption=f"{caption}.",
        )
    page.figure(
        together.plot_confusions(comparison.scores),
        together.CONFUSIONS_CAPTION,
        caption=f"{together.CONFUSIONS_CAPTION}.",
    )
    page.figure(
        together.plot_reliability(comparison.scores),
        together.RELIABILITY_CAPTION,
        caption=f"{together.RELIABILITY_CAPTION}.",
    )


def _section(page: Page, one: RuleResult, out: Path) -> None:
    page.heading(one.label)
    if not one.runs:
        page.paragraph("No run finished.")
        return
    for run in one.runs:
        found, folder = run.summary, os.path.relpath(run.folder, out)
        accuracy = "" if found["valid_accuracy"] is None else f"{percent(found['valid_accuracy'])}, "
        length = f"{found['steps']:,} steps ({found['epochs']:.3g} epochs) in {duration(found['seconds'])}. "
        page.paragraph(
            strong(f"Seed {run.config.seed}: "), accuracy, length, link("Run folder", folder), muted(f" {folder}")
        )
    page.code(tomli_w.dumps({"rule": one.runs[0].record["rule"]}).strip())
    plot = one.runs[0].folder / _CURVES
    if plot.is_file():
        page.figure(
            plot,
            f"Loss, accuracy and the objective of each layer of {one.label} against steps",
            caption=f"Its curves with seed {one.runs[0].config.seed}.",
        )


def _settings(page: Page, comparison: Comparison) -> None:
    """Settings, versions and machine: the common ones, and those that differ."""
    ran = [one for one in comparison.results if one.runs]
    if not ran:
        return
    trees = [_without_rule(one) for one in ran]
    own = differing_settings(trees)
    page.heading("Settings")
    if own:
        page.table(
            ["setting", *(one.label for one in ran)],
            [[code(name), *("unset" if value is None else str(value) for value in row)] for name, row in own.items()],
            caption="Settings that differ. A rule may have defaults of its own; --set gives all rules the same.",
        )
    page.paragraph(f"All settings of {ran[0].label}, but those of the rule:")
    page.code(tomli_w.dumps(trees[0]).strip())
    page.heading("Machine and versions")
    found = ran[0].runs[0].record["environment"]
    rows: list[list[Cell]] = [[name, str(found[name])] for name in _ENVIRONMENT if found.get(name)]
    rows.append(["threads", str(ran[0].runs[0].config.threads)])
    rows.append(["data", str(ran[0].runs[0].record["trained_on"]["origin"])])
    rows += [[f"{one.label} from", str(one.runs[0].record["environment"]["supplied_by"]["rule"])] for one in ran]
    page.table(["", "first run"], rows)


def _without_rule(one: RuleResult) -> dict[str, Any]:
    return {key: value for key, value in without_incidental(one.runs[0].settings).items() if key != "rule"}
