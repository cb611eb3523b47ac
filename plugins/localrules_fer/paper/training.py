"""Training of the cases: curves of accuracy and loss, and a table of the results."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

from localrules.benchmark.flops import CostSegment, step_macs
from localrules.reproduce.artifacts import ArtifactWriter
from localrules.reproduce.result import CaseResult
from localrules_fer.paper.curves import (
    LINES,
    NEARLY,
    PART,
    SECONDS,
    SERIES,
    STEPS,
    WORK,
    Curve,
    common_level,
    converged,
    draw_curves,
    logged,
    seconds,
    spent,
)

if TYPE_CHECKING:
    import pandas as pd

_MEASURES = (
    "", "train", "valid", "test", "over-fitting", "one against rest", "converged", "s a step",
    "G MACs a step", "MiB", "M parameters",
)  # fmt: skip
_COUNTED = (
    "MACs are counted in a step that is taken: those of convolutions and products of matrices, forward and "
    "backward, in network, objective and auxiliary modules; what works element by element is not counted"
)
_RUNNING = (
    f"Running: the mean of {LINES} logged lines, a batch each, around a step, or of a {PART}th of the curve if that is "
    "more; it is not found where fewer were logged"
)
Work = dict[str, list[CostSegment]]


def show_training(artifacts: ArtifactWriter) -> None:
    """Curves against what was spent, their numbers, and tables of what the cases came to."""
    work = {outcome.case.name: _work(outcome, artifacts) for outcome in artifacts.outcomes if outcome.runs}
    curves = [
        Curve(outcome.case.name, _logged(outcome, work[outcome.case.name]))
        for outcome in artifacts.outcomes
        if outcome.runs
    ]
    artifacts.plot(
        "curves",
        "Accuracy and loss against steps, and accuracy against seconds of training steps and against MACs: "
        f"lines on training batches, smoothed; marks on the valid split. {_COUNTED}",
        lambda path: draw_curves(curves, path),
    )
    head = ["row", "seed", STEPS, *SERIES, SECONDS, WORK]
    artifacts.table("curves", "", head, _numbers(artifacts.outcomes, curves), shown=False)
    level = common_level(curves)
    if level is not None:
        artifacts.table(
            "pace",
            f"What had been spent when the running accuracy on training batches first was {100 * level:.0f} %, the "
            f"highest multiple of five that two rows reached; nothing stands beside a row that never did. {_RUNNING}",
            ["", STEPS, SECONDS, WORK],
            spent(curves, level),
        )
    artifacts.table(
        "measures",
        "Accuracies in percent, of the last weights, mean over seeds. Over-fitting: train less test. One against rest: "
        "on test, the mean accuracy of yes-or-no questions, one a class. Data without a test split have both of valid. "
        f"Converged: the first step with {NEARLY:.0%} of the last running accuracy on training batches. {_RUNNING}. "
        "MiB: the allocator's peak in a training step",
        _MEASURES,
        [measures(outcome, artifacts, work.get(outcome.case.name, ())) for outcome in artifacts.outcomes],
    )


def measures(outcome: CaseResult, artifacts: ArtifactWriter, work: Sequence[CostSegment]) -> list[str | None]:
    """The results of a case, in the order of the table."""
    runs = outcome.runs
    if not runs:
        return [outcome.case.name, *[None] * (len(_MEASURES) - 1)]
    has = artifacts.data.splits
    train = 100 * mean(run.summary["train_accuracy"] for run in runs)
    test, judged = outcome.scored_mean("top1", "test"), outcome.scored_mean("top1")
    valid = 100 * mean(run.summary["valid_accuracy"] for run in runs) if "valid" in has else None
    steps = [step for step in (converged(table) for table in _logged(outcome, work)) if step is not None]
    return [
        outcome.case.name,
        _percent(train),
        _percent(valid),
        _percent(test),
        None if judged is None else f"{train - judged:+.1f}",
        _percent(outcome.scored_mean("one_vs_rest_accuracy")),
        f"{mean(steps):.0f}" if steps else None,
        f"{seconds(runs):.4f}",
        ", ".join(dict.fromkeys(f"{one.macs / 1e9:.2f}" for one in work)),
        f"{max(run.summary['peak_memory_mib'] for run in runs):.0f}",
        f"{runs[0].summary['parameters'] / 1e6:.2f}",
    ]


def _work(outcome: CaseResult, artifacts: ArtifactWriter) -> list[CostSegment]:
    run, data = outcome.runs[0], artifacts.data
    return step_macs(run.config, artifacts.registry, data.shape, len(data.classes), run.summary["steps"])


def _logged(outcome: CaseResult, work: Sequence[CostSegment]) -> list[pd.DataFrame]:
    return [logged(run, seconds([run]), work) for run in outcome.runs]


def _numbers(outcomes: Sequence[CaseResult], curves: Sequence[Curve]) -> list[list[object]]:
    rows: list[list[object]] = []
    tables = {curve.label: curve.runs for curve in curves}
    for outcome in outcomes:
        for run, table in zip(outcome.runs, tables.get(outcome.case.name, []), strict=True):
            found = table[[STEPS, *SERIES, SECONDS, WORK]].round(5).astype(object)
            values = found.where(found.notna(), None).to_numpy().tolist()
            rows += [[outcome.case.name, run.config.seed, *line] for line in values]
    return rows


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"
