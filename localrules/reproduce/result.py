"""Results of cases beside the published values: verdicts, the table of an experiment, and rankings."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from localrules.comparison.run_record import RunRecord
from localrules.errors import MissingDependencyError
from localrules.evaluation.metric import MetricFiles
from localrules.reproduce.spec import Budget, Case, Metric
from localrules.runs.evaluate import NO_METRICS, evaluate_split
from localrules.runs.load import TrainedRun
from localrules.utils.atomic_io import write_atomic

if TYPE_CHECKING:
    from localrules.data.dataset import Dataset
    from localrules.registry.registry import Registry

POINT = 1.0
"""A mean that is no more than so many points away from the published value matches it."""

MATCHES, DIVERGED = "matches", "diverged"
EXCLUDED = "left out"
"""The verdict on a case that needs a package which is not installed."""

SCORES, METRIC_FILES = "scores.json", "metric_files"
RESULTS = "results.csv"
COLUMNS = (
    "row", "model", "data", "ours", "low", "high", "seed_count", "published", "difference", "verdict", "budget",
    "seconds", "machine", "source", "differs", "missing",
)  # fmt: skip

ResultRow = dict[str, str]
"""A line of ``results.csv``, by column."""


@dataclass(frozen=True)
class CaseResult:
    """A case with its runs.

    Attributes:
        experiment: The experiment's name.
        case: The case.
        budget: How long each run was.
        runs: One a seed; those that diverged are not among them.
        values: The case's metric of each run, in percent.
        on: The ``model`` and ``data`` of the runs; data whose files are not the published ones are called so.
        changed: Settings that were asked for in place of the case's, as they were typed.
        claim: What the experiment's source claims, in words.
        scores: What each run's last weights come to on the split that it is judged by, as ``eval`` has it.
        missing: The package for want of which the case was left out.
        diverged: The seeds of runs that diverged.
    """

    experiment: str
    case: Case
    budget: Budget
    runs: tuple[RunRecord, ...]
    values: tuple[float, ...]
    on: Mapping[str, str] = field(default_factory=dict)
    changed: str = ""
    claim: str = ""
    scores: tuple[dict[str, Any], ...] = ()
    missing: MissingDependencyError | None = None
    diverged: tuple[int, ...] = ()

    @property
    def install_hint(self) -> str:
        """The package that a skipped case needs, and how to install it; empty for any other case."""
        return f"{self.missing.what}: {self.missing.fix}" if self.missing else ""

    def scored_mean(self, metric: str, split: str | None = None) -> float | None:
        """A metric in percent, mean over runs; ``None`` where there is none, or it is of another split than asked."""
        values = [score[metric] for score in self.scores if split in (None, score["split"])]
        return 100 * mean(values) if values and None not in values else None

    @property
    def metric(self) -> str:
        """The case's; of data without a test split, the same on the split that there is."""
        if self.case.metric == "test_accuracy" and self.scores:
            return f"{self.scores[0]['split']}_accuracy"
        return self.case.metric

    @property
    def ours(self) -> float | None:
        """The mean over runs; ``None`` where there is none."""
        return mean(self.values) if self.values else None

    @property
    def difference(self) -> float | None:
        """Ours less the published value, in points; ``None`` where there is no such pair."""
        return None if self.ours is None or self.case.published is None else self.ours - self.case.published

    @property
    def verdict(self) -> str:
        """``matches``, ``below`` or ``above`` at the full budget; else why nothing can be said."""
        if self.missing is not None:
            return EXCLUDED
        if self.ours is None:
            return DIVERGED
        if self.difference is None:
            return "no published value"
        for kind, name in self.case.published_for.items():
            if self.on.get(kind, name) != name:
                return f"other {kind}: not comparable"
        if self.metric != self.case.metric:
            return "other split: not comparable"
        if self.changed:
            return "other settings: not comparable"
        if not self.budget.is_full:
            return "smaller budget: not comparable"
        if self.diverged:
            return f"{len(self.diverged)} of {len(self.diverged) + len(self.runs)} seeds diverged: not comparable"
        if abs(self.difference) <= POINT:
            return MATCHES
        return "below" if self.difference < 0 else "above"

    @property
    def deviations(self) -> str:
        """In what our runs are not the published one."""
        elsewhere = ""
        if self.metric != self.case.metric:
            elsewhere = f"the data have no test split: {self.metric.removesuffix('_accuracy')} accuracy"
        return "; ".join(part for part in (self.case.deviations, elsewhere, self.changed) if part)

    def as_csv_row(self) -> dict[str, str]:
        """A line of ``results.csv``, in the order of :data:`COLUMNS`; what is not known is empty."""
        found = (
            self.case.name,
            self.on.get("model", ""),
            self.on.get("data", ""),
            _round_metric(self.ours),
            _round_metric(min(self.values, default=None)),
            _round_metric(max(self.values, default=None)),
            str(len(self.runs)),
            "" if self.case.published is None else f"{self.case.published:g}",
            "" if self.difference is None else f"{self.difference:+.2f}",
            self.verdict,
            str(self.budget),
            f"{mean(run.summary['seconds'] for run in self.runs):.1f}" if self.runs else "",
            "; ".join(dict.fromkeys(machine_of(run) for run in self.runs)),
            self.case.source,
            self.deviations,
            self.install_hint,
        )
        return dict(zip(COLUMNS, found, strict=True))

    def documents(self) -> list[dict[str, Any]]:
        """The output of ``reproduce --json`` for each run: its summary, and the published value.

        A run that diverged is there without a metric, and a case that was left out once, with what it needs.
        """
        if self.missing is not None:
            return [self._document() | {"missing": {"why": self.missing.what, "install": self.missing.fix}}]
        done = [
            self._document() | {"seed": run.config.seed, "value": value, "summary": run.summary}
            for run, value in zip(self.runs, self.values, strict=True)
        ]
        return done + [self._document() | {"seed": seed, "verdict": DIVERGED} for seed in self.diverged]

    def _document(self) -> dict[str, Any]:
        """The common part of the runs, with ``None`` for what each has of its own."""
        return {
            **as_document(self.experiment, self.claim),
            "row": self.case.name,
            "metric": self.metric,
            "published": self.case.published,
            "source": self.case.source,
            "differs": self.deviations,
            "budget": str(self.budget),
            "verdict": self.verdict,
        }


def as_document(experiment: str, claim: str) -> dict[str, Any]:
    """The part of ``reproduce --json`` for an experiment that trains nothing: its claim only."""
    return {
        "experiment": experiment,
        "row": None,
        "seed": None,
        "metric": None,
        "value": None,
        "published": None,
        "claim": claim,
        "source": "",
        "differs": "",
        "budget": None,
        "verdict": "trains nothing",
        "missing": None,
        "summary": None,
    }


def metric_value(run: RunRecord, case: Case, scores: Mapping[str, Any]) -> float:
    """A finished run's metric in percent.

    Args:
        run: The run.
        case: Its case.
        scores: From :func:`load_or_evaluate`.
    """
    return 100 * float(scores["top1"] if case.metric == "test_accuracy" else run.summary[case.metric])


def evaluation_split(data: Dataset, metric: Metric = "test_accuracy") -> str:
    """The split that runs are scored on: test, or the next best; one that is not there where there is none."""
    found = next((name for name in ("test", "valid") if name in data.splits), None)
    return found or metric.removesuffix("_accuracy")


def load_or_evaluate(
    run: RunRecord, split: str, data: Dataset, registry: Registry, metrics: MetricFiles = NO_METRICS
) -> dict[str, Any]:
    """A finished run's scores, as ``eval`` has them. Found once, and kept in the run folder.

    Args:
        run: The run.
        split: The name of the split.
        data: Its data set.
        registry: Where names are looked up.
        metrics: The files of plugins' metrics to compute, by name.

    Raises:
        DataError: The data set has no such split, or a metric's file does not fit it.
        UsageError: A metric does not apply to the data set.
    """
    path = run.folder / SCORES
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    files = {name: sha256(Path(file).read_bytes()).hexdigest() for name, file in metrics.items()}
    read = known.get(METRIC_FILES, {}).get(split, {})
    if split not in known or any(not known[split].get(name) or read.get(name) != files[name] for name in metrics):
        finished = TrainedRun.load(run.folder, registry)
        known[split] = evaluate_split(finished, data, split, metrics=metrics).metrics
        known[METRIC_FILES] = {**known.get(METRIC_FILES, {}), split: files}
        write_atomic(path, json.dumps(known, indent=2) + "\n")
    found: dict[str, Any] = known[split]
    return found


def _round_metric(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def machine_of(run: RunRecord) -> str:
    """The processor or GPU that a run was made on, and its threads."""
    environment, threads = run.record["environment"], run.config.threads
    name = environment["processor"] if environment["device"] == "cpu" else environment["device"]
    return f"{name}, {threads} thread{'s'[: threads != 1]}"


def read_results(folder: Path) -> list[ResultRow]:
    """The lines of an experiment's table, whichever release wrote them; none where it has no table yet."""
    path = folder / RESULTS
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = list(csv.DictReader(io.StringIO(text)))
    for line in lines:
        if "seeds" in line:  # before 0.2 the seeds themselves
            line["seed_count"] = str(len(line["seeds"].split()))
    return [{column: line.get(column) or "" for column in COLUMNS} for line in lines]


def upsert(outcome: CaseResult, folder: Path) -> None:
    """Put a case into its experiment's table, ``<folder>/<experiment>/results.csv``.

    It takes the place of the same case of the same model, data, settings and budget; all others stay. A case that was
    left out takes no metrics away that were found before.
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


def ranking_sentences(outcomes: Sequence[CaseResult]) -> list[str]:
    """A sentence for the cases on one data set: best first, how far they are apart, and how far a case's own seeds."""
    on: dict[str, list[CaseResult]] = {}
    for outcome in outcomes:
        on.setdefault(outcome.on.get("data", ""), []).append(outcome)
    return [text for data, cases in on.items() if (text := _sentence(data, cases))]


def _sentence(data: str, cases: Sequence[CaseResult]) -> str:
    found = [(value, case) for case in cases if (value := case.scored_mean("top1")) is not None]
    if not found:
        return ""
    found.sort(key=lambda pair: -pair[0])  # cases of equal metrics stay in the table's order
    split = found[0][1].scores[0]["split"]
    lengths = " or ".join(dict.fromkeys(str(case.budget) for _, case in found))
    order = ", ".join(f"{case.case.name} {value:.1f} %" for value, case in found)
    without = [f"{case.case.name}: {case.verdict}" for case in cases if not case.scores]
    parts = [f"Top-1 on the {split} split of {data} after {lengths}: {order}", *without]
    if len(found) > 1:
        parts.append(f"{found[0][0] - found[-1][0]:.1f} points from the first to the last")
    return "; ".join([*parts, _seeds([case for _, case in found])]) + "."


def _seeds(cases: Sequence[CaseResult]) -> str:
    spreads = [100 * (max(tops) - min(tops)) for case in cases if len(tops := [one["top1"] for one in case.scores]) > 1]
    if not spreads:
        return "of one seed each, so how much of that is chance is not known"
    return f"seeds of one case are up to {max(spreads):.1f} points apart"
