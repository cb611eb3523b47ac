"""What a row's runs came to, beside the published figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from localrules.compare.runs import Run
from localrules.errors import MissingPackage
from localrules.evaluation.evaluating import judged
from localrules.files import write_atomic
from localrules.finished import FinishedRun
from localrules.reproduce.budget import Budget
from localrules.reproduce.experiment import Row

if TYPE_CHECKING:
    from localrules.data.dataset import DataSet
    from localrules.plugins import Registry

POINT = 1.0
"""A mean that is no more than so many points away from the published figure matches it."""

DIVERGED = "diverged"
LEFT_OUT = "left out"
"""The verdict on a row that needs a package which is not installed."""

SCORES = "scores.json"
COLUMNS = (
    "row", "model", "data", "ours", "low", "high", "seeds", "published", "difference", "verdict", "budget", "seconds",
    "machine", "source", "differs", "missing",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """A row with its runs.

    Attributes:
        experiment: The experiment's name.
        row: The row.
        budget: How long each run was.
        runs: One a seed; those that diverged are not among them.
        values: The row's metric of each run, in percent.
        on: The ``model`` and ``data`` of the runs.
        changed: Settings that were asked for in place of the row's, as they were typed.
        claim: What the experiment's source claims, in words.
        scores: What each run's last weights come to on the split that it is judged by, as ``eval`` has it.
        missing: The package for want of which the row was left out.
        diverged: The seeds of runs that diverged.
    """

    experiment: str
    row: Row
    budget: Budget
    runs: tuple[Run, ...]
    values: tuple[float, ...]
    on: Mapping[str, str] = field(default_factory=dict)
    changed: str = ""
    claim: str = ""
    scores: tuple[dict[str, Any], ...] = ()
    missing: MissingPackage | None = None
    diverged: tuple[int, ...] = ()

    @property
    def wants(self) -> str:
        """What a row that was left out needs, and how to come by it; empty of any other."""
        return f"{self.missing.what}: {self.missing.fix}" if self.missing else ""

    def scored_mean(self, figure: str, split: str | None = None) -> float | None:
        """A figure in percent, mean over runs; ``None`` where there is none, or it is of another split than asked."""
        values = [score[figure] for score in self.scores if split in (None, score["split"])]
        return 100 * mean(values) if values and None not in values else None

    @property
    def metric(self) -> str:
        """The row's; of data without a test split, the same on the split that there is."""
        if self.row.metric == "test_accuracy" and self.scores:
            return f"{self.scores[0]['split']}_accuracy"
        return self.row.metric

    @property
    def ours(self) -> float | None:
        """The mean over runs; ``None`` where there is none."""
        return mean(self.values) if self.values else None

    @property
    def difference(self) -> float | None:
        """Ours less the published figure, in points; ``None`` where there is no such pair."""
        return None if self.ours is None or self.row.published is None else self.ours - self.row.published

    @property
    def verdict(self) -> str:
        """``matches``, ``below`` or ``above`` at the full budget; else why nothing can be said."""
        if self.missing is not None:
            return LEFT_OUT
        if self.ours is None:
            return DIVERGED
        if self.difference is None:
            return "no published figure"
        for kind, name in self.row.published_on.items():
            if self.on[kind] != name:
                return f"other {kind}: not comparable"
        if self.metric != self.row.metric:
            return "other split: not comparable"
        if self.changed:
            return "other settings: not comparable"
        if not self.budget.is_full:
            return "smaller budget: not comparable"
        if abs(self.difference) <= POINT:
            return "matches"
        return "below" if self.difference < 0 else "above"

    @property
    def differs(self) -> str:
        """In what our runs are not the published one."""
        elsewhere = ""
        if self.metric != self.row.metric:
            elsewhere = f"the data have no test split: {self.metric.removesuffix('_accuracy')} accuracy"
        return "; ".join(part for part in (self.row.differs, elsewhere, self.changed) if part)

    def line(self) -> dict[str, str]:
        """A line of ``results.csv``, in the order of :data:`COLUMNS`; what is not known is empty."""
        found = (
            self.row.name,
            self.on.get("model", ""),
            self.on.get("data", ""),
            _figure(self.ours),
            _figure(min(self.values, default=None)),
            _figure(max(self.values, default=None)),
            " ".join(str(run.config.seed) for run in self.runs),
            "" if self.row.published is None else f"{self.row.published:g}",
            "" if self.difference is None else f"{self.difference:+.2f}",
            self.verdict,
            str(self.budget),
            f"{mean(run.summary['seconds'] for run in self.runs):.1f}" if self.runs else "",
            "; ".join(dict.fromkeys(_machine(run) for run in self.runs)),
            self.row.source,
            self.differs,
            self.wants,
        )
        return dict(zip(COLUMNS, found, strict=True))

    def documents(self) -> list[dict[str, Any]]:
        """What ``reproduce --json`` prints: each run with its summary, and the published figure beside its own.

        A run that diverged is there without a figure, and a row that was left out once, with what it needs.
        """
        if self.missing is not None:
            return [self._document() | {"missing": {"why": self.missing.what, "install": self.missing.fix}}]
        done = [
            self._document() | {"seed": run.config.seed, "value": value, "summary": run.summary}
            for run, value in zip(self.runs, self.values, strict=True)
        ]
        return done + [self._document() | {"seed": seed, "verdict": DIVERGED} for seed in self.diverged]

    def _document(self) -> dict[str, Any]:
        """What the runs have in common, with nothing for what each has of its own."""
        return {
            **document(self.experiment, self.claim),
            "row": self.row.name,
            "metric": self.metric,
            "published": self.row.published,
            "source": self.row.source,
            "differs": self.differs,
            "budget": str(self.budget),
            "verdict": self.verdict,
        }


def document(experiment: str, claim: str) -> dict[str, Any]:
    """What ``reproduce --json`` prints of an experiment that trains nothing: its claim, and no more."""
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


def measured(run: Run, row: Row, scores: Mapping[str, Any]) -> float:
    """A finished run's metric in percent.

    Args:
        run: The run.
        row: Its row.
        scores: From :func:`scored`.
    """
    return 100 * float(scores["top1"] if row.metric == "test_accuracy" else run.summary[row.metric])


def judged_on(row: Row, data: DataSet) -> str:
    """The split that a row's runs are scored on: test, or the next best; one that is not there where there is none."""
    found = next((name for name in ("test", "valid") if name in data.splits), None)
    return found or row.metric.removesuffix("_accuracy")


def scored(run: Run, row: Row, data: DataSet, registry: Registry, ferplus: Path | None = None) -> dict[str, Any]:
    """A finished run's scores, as ``eval`` has them. Found once, and kept in the run folder.

    Args:
        run: The run.
        row: Its row.
        data: Its data set.
        registry: Where names are looked up.
        ferplus: FER+'s votes on the split.

    Raises:
        DataError: The data set has no such split, or the votes do not fit it.
        UsageError: There are no votes on such data.
    """
    split = judged_on(row, data)
    path = run.folder / SCORES
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if split not in known or (ferplus is not None and not known[split].get("ferplus")):
        finished = FinishedRun.load(run.folder, registry)
        known[split] = judged(finished, data, split, registry, ferplus=ferplus).figures
        write_atomic(path, json.dumps(known, indent=2) + "\n")
    found: dict[str, Any] = known[split]
    return found


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _machine(run: Run) -> str:
    environment, threads = run.record["environment"], run.config.threads
    name = environment["processor"] if environment["device"] == "cpu" else environment["device"]
    return f"{name}, {threads} thread{'s'[: threads != 1]}"
