"""The page of a comparison."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tomli_w

from localrules.comparison import charts
from localrules.comparison.comparison import Comparison
from localrules.comparison.results import RuleResult, SeedStats
from localrules.comparison.scorer import SPLIT
from localrules.config.diff import differing_settings, without_incidental
from localrules.core.locality import LOCALITY_DESCRIPTIONS
from localrules.evaluation.score_charts import add_evaluation
from localrules.reports.html import Cell, Keyed, Page, badge, code, link, muted, strong
from localrules.tracking.records import PAGE as RUN_PAGE
from localrules.utils.bootstrap import MEAN_RESAMPLES, Difference
from localrules.utils.formatting import duration, memory, percent, step_time
from localrules.utils.text import joined

_NONE = Keyed(muted("-"), None)
_ENVIRONMENT = ("localrules", "python", "torch", "numpy", "system", "machine", "processor", "instructions", "device")
_NAMED = 3  # rules in a title


def write(comparison: Comparison, out: Path, command: str | None) -> Path:
    """Write ``index.html`` into a folder.

    Args:
        comparison: What to show.
        out: The folder.
        command: The command line that makes the page again, if one does.

    Returns:
        The page's path.
    """
    about = _about(comparison)
    page = Page(_title(comparison), about, of=about)
    styles = {one.label: index for index, one in enumerate(comparison.results)}
    page.facts(_facts(comparison))
    _ranking(page, comparison, styles)
    page.heading("Learning curves")
    page.charts(
        charts.learning_curves(comparison.ranked, styles),
        caption="Mean over seeds; the band spans their range, where there are few rules. Step 0 is before training. "
        "Time is steps times the median time of a step: evaluation and checkpoints are not included.",
    )
    if cost := charts.cost_charts(comparison.ranked, styles):
        page.heading("Cost")
        page.charts(cost, caption="Time: the median of a step; memory: the allocator's peak in a training step.")
    _clean(page, comparison)
    scored = {one.label: comparison.scores[one.label] for one in comparison.ranked if one.label in comparison.scores}
    add_evaluation(page, scored, comparison.metrics, styles)
    page.heading("Runs")
    for one in comparison.ranked:
        _runs(page, one, out)
    _settings(page, comparison)
    if command is not None:
        page.heading("Reproduce this page")
        page.code(command)
        page.paragraph("Finished runs are not repeated, and an interrupted run resumes where it stopped.")
    return page.write(out / "index.html")


def _title(comparison: Comparison) -> str:
    labels = [one.label for one in comparison.results]
    return joined(labels) if len(labels) <= _NAMED else f"Comparison of {len(labels)} rules"


def _about(comparison: Comparison) -> str:
    """Models, data and seeds, for below the title and below every plot."""
    runs = [run for one in comparison.results for run in one.runs]
    models = ", ".join(dict.fromkeys(run.config.model.name for run in runs))
    data = ", ".join(dict.fromkeys(run.config.data.name for run in runs))
    seeds = sorted({run.config.seed for run in runs})
    which = f"seed{'s'[: len(seeds) != 1]} {joined(map(str, seeds))}"
    return f"{models} on {data}, {which}, {len(runs)} run{'s'[: len(runs) != 1]}"


def _facts(comparison: Comparison) -> list[tuple[str, str, str]]:
    """The answers that are looked for first."""
    facts = []
    stats = comparison.best.stats("valid_accuracy") if comparison.best else None
    if comparison.best and stats:
        facts.append(("Best accuracy", comparison.best.label, f"{charts.accuracy_text(stats)} on the {SPLIT} split"))
        if comparison.to_best:
            tied = comparison.tied
            names = f"{joined(tied)}; " if len(tied) > 1 else ""
            facts.append(("Not told apart from it", _names(tied), f"{names}95 % intervals over images"))
    for name, value, shown in (
        ("Fastest step", lambda one: one.step_seconds, step_time),
        ("Least memory", lambda one: one.peak_memory_mib, memory),
    ):
        known = {one.label: found for one in comparison.results if (found := value(one)) is not None}
        if len(known) > 1:
            least = shown(min(known.values()))
            facts.append((name, _names([label for label, found in known.items() if shown(found) == least]), least))
    return facts


def _names(labels: list[str]) -> str:
    return "none" if not labels else labels[0] if len(labels) == 1 else f"{len(labels)} rules"


def _ranking(page: Page, comparison: Comparison, styles: dict[str, int]) -> None:
    against, ranked = comparison.control.label, comparison.ranked
    page.heading("Ranking")
    panels = [charts.ranking_chart(ranked, styles, comparison.best.label if comparison.best else None)]
    if comparison.differences:
        panels.append(charts.difference_chart(ranked, comparison.differences, against, styles))
    if panels[0].rows:
        page.charts(
            panels,
            caption="Accuracies of the last weights: the mark is the mean, the line spans the range, and ticks are "
            f"single seeds. Differences to {against}: 95 % intervals.",
        )
    head = ["", "rule", f"{SPLIT} accuracy", f"to {against}", "locality", "train accuracy"]
    head += ["step", "training", "memory", "parameters", "seeds"]
    page.table(
        head,
        [_row(place, one, comparison) for place, one in enumerate(ranked, 1)],
        align="rlrrnrrrrrr",
        best=[place for place, one in enumerate(ranked) if comparison.best and one.label == comparison.best.label],
        caption=f"Ranked by {SPLIT} accuracy. Accuracies are those of the last weights: mean, standard deviation and "
        f"range over seeds. The difference to {against} is in points, with a 95 % interval by a paired bootstrap over "
        f"the images of the {SPLIT} split ({MEAN_RESAMPLES:,} resamples; the seeds are taken as they are). A rule is "
        "marked 'as good' where such an interval of its difference to the best has 0 in it. Step: the median; memory: "
        "the allocator's peak in a training step. The runs were timed one after the other; localrules bench lets rules "
        "take turns. Locality is what the rule declares, or measured in the lab (a few steps on small images), "
        "or measured in the run (run --audit): see localrules audit.",
    )
    for label, found in comparison.mismatches.items():
        page.note(
            strong(f"{label} does not share its {' and '.join(found)} with {against}: "),
            "their accuracies cannot be compared.",
            warns=True,
        )
    for note in comparison.notes:
        page.note(strong("Note: "), note)
    classes = {one.locality for one in comparison.results if one.locality is not None}
    page.items([(strong(name), f": {meaning}") for name, meaning in LOCALITY_DESCRIPTIONS.items() if name in classes])


def _row(place: int, one: RuleResult, comparison: Comparison) -> list[Cell]:
    seconds, parameters = one.stats("seconds"), one.parameters
    name: list[str] = [strong(one.label)]
    if comparison.best and one.label == comparison.best.label:
        name.append(badge("best", strong=True))
    elif one.label in comparison.tied:
        name.append(badge("as good"))
    for what in comparison.mismatches.get(one.label, []):
        run = one.runs[0]
        name.append(muted(f" other {what}: {run.config.model.name if what == 'model' else run.config.data.name}"))
    return [
        str(place) if one.runs and one.label not in comparison.mismatches else _NONE,
        name,
        _accuracy(one.stats("valid_accuracy")),
        _difference(comparison.differences.get(one.label)),
        _locality(one),
        _accuracy(one.stats("train_accuracy"), with_range=False),
        Keyed(step_time(one.step_seconds), one.step_seconds) if one.step_seconds is not None else _NONE,
        Keyed(duration(seconds.mean), seconds.mean) if seconds else _NONE,
        Keyed(memory(one.peak_memory_mib), one.peak_memory_mib) if one.peak_memory_mib is not None else _NONE,
        Keyed(f"{parameters:,}", parameters) if parameters is not None else _NONE,
        str(len(one.runs)),
    ]


def _locality(one: RuleResult) -> Cell:
    if one.locality is None or one.proof is None:
        return _NONE
    return one.locality, muted(f" {one.proof.removeprefix('measured ')}")


def _accuracy(stats: SeedStats | None, *, with_range: bool = True) -> Cell:
    if stats is None:
        return _NONE
    if stats.std is None:
        return Keyed(percent(stats.mean), stats.mean)
    spread = f" ({100 * stats.low:.1f} to {100 * stats.high:.1f})" if with_range else ""
    return Keyed((percent(stats.mean), muted(f" ± {100 * stats.std:.1f}{spread}")), stats.mean)


def _difference(found: Difference | None) -> Cell:
    if found is None:
        return _NONE
    more = f" [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
    return Keyed((f"{100 * found.mean:+.1f}", muted(more)), found.mean)


def _clean(page: Page, comparison: Comparison) -> None:
    if not comparison.clean:
        return
    page.heading("Without images known from training")
    page.table(
        ["rule", "images", "accuracy, %", f"to {comparison.control.label}"],
        [
            [strong(label), f"{left.images:,}", f"{100 * left.accuracy:.1f}", _difference(left.difference)]
            for label, left in comparison.clean.items()
        ],
        align="lrrr",
        caption=f"The images of the {SPLIT} split of which no copy, no flipped copy and no other copy of the same "
        "photograph was trained on: see localrules eval --leak-check. Mean over seeds; intervals as above.",
    )


def _runs(page: Page, one: RuleResult, out: Path) -> None:
    accuracy = one.stats("valid_accuracy")
    remark = charts.accuracy_text(accuracy) if accuracy else "no run finished" if not one.runs else ""
    with page.details(strong(one.label), muted(f" {remark}")):
        for run in one.runs:
            found, folder = run.summary, os.path.relpath(run.folder, out)
            reached = "" if found["valid_accuracy"] is None else f"{percent(found['valid_accuracy'])}, "
            length = f"{found['steps']:,} steps ({found['epochs']:.3g} epochs) in {duration(found['seconds'])}. "
            pages = [link("Its page", f"{folder}/{RUN_PAGE}"), " "] if (run.folder / RUN_PAGE).is_file() else []
            place = [*pages, link("Run folder", folder), muted(f" {folder}")]
            page.paragraph(strong(f"Seed {run.config.seed}: "), reached, length, *place)
        if one.runs:
            page.code(tomli_w.dumps({"rule": one.runs[0].record["rule"]}).strip())


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
            sortable=False,
            caption="Settings that differ. A rule may have defaults of its own; --set gives all rules the same.",
        )
    with page.details(f"All settings of {ran[0].label}, but those of the rule"):
        page.code(tomli_w.dumps(trees[0]).strip())
    page.heading("Machine and versions")
    found = ran[0].runs[0].record["environment"]
    rows: list[list[Cell]] = [[name, str(found[name])] for name in _ENVIRONMENT if found.get(name)]
    rows.append(["threads", str(ran[0].runs[0].config.threads)])
    rows.append(["data", str(ran[0].runs[0].record["trained_on"]["origin"])])
    rows += [[f"{one.label} from", str(one.runs[0].record["environment"]["supplied_by"]["rule"])] for one in ran]
    page.table(["", "first run"], rows, sortable=False)


def _without_rule(one: RuleResult) -> dict[str, Any]:
    return {key: value for key, value in without_incidental(one.runs[0].settings).items() if key != "rule"}
