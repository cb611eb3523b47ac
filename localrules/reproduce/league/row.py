"""A row of the league: what a rule came to on a ground, as a file, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from localrules.config.diff import flatten
from localrules.config.overrides import Tree, format_overrides
from localrules.utils.atomic_io import write_atomic
from localrules.utils.text import command_line

COLUMNS = (
    "ground", "rule", "model", "data", "split", "class", "accuracy_mean", "accuracy_std", "seeds", "steps",
    "step_ratio", "memory_ratio", "parameters", "lr", "options", "reason", "machine", "command",
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A rule on a ground.

    Attributes:
        ground: The ground's name.
        rule: The rule's name.
        model: The network's name.
        data: The data set's name.
        budget: The length of runs and trials, and the user's settings: a row of another budget is not this one.
        split: Where accuracies are measured.
        accuracies: Of the last weights, in the order of seeds from 0.
        locality: The class that the first run measured; empty where none could be.
        declared: The rule's claim.
        steps: Of a run.
        step_ratio: Time of a step over the control's.
        memory_ratio: Peak memory of a step over the control's.
        parameters: Trained ones, those of auxiliary networks among them.
        lr: The learning rate that the search chose.
        options: The rule's options that it chose.
        trials: Each with its settings and its accuracy on what was held out; none of a rule that cannot run here.
        reason: Why the rule cannot run here, or what went wrong; empty if nothing did.
        machine: What it ran on.
        command: Repeats the first run.
    """

    ground: str
    rule: str
    model: str
    data: str
    budget: Tree
    split: str = ""
    accuracies: tuple[float, ...] = ()
    locality: str = ""
    declared: str = ""
    steps: int | None = None
    step_ratio: float | None = None
    memory_ratio: float | None = None
    parameters: int | None = None
    lr: float | None = None
    options: Tree = field(default_factory=dict)
    trials: tuple[Tree, ...] = ()
    reason: str = ""
    machine: str = ""
    command: str = ""

    @property
    def level(self) -> str:
        """The measured class, or the declared one where none was measured."""
        return self.locality or self.declared

    @property
    def class_text(self) -> str:
        """The measured class, and the declared one where that is another or nothing was measured."""
        if self.locality == self.declared:
            return self.locality
        return f"{self.locality} (declared {self.declared})" if self.locality else f"{self.declared} (declared)"

    @property
    def accuracy_mean(self) -> float | None:
        """Over seeds; ``None`` where the rule did not run."""
        return mean(self.accuracies) if self.accuracies else None

    @property
    def accuracy_std(self) -> float | None:
        """Over seeds; ``None`` for fewer than two."""
        return stdev(self.accuracies) if len(self.accuracies) > 1 else None

    def document(self) -> dict[str, Any]:
        """Its part of what ``reproduce league --json`` prints."""
        known = asdict(self)
        known["class"] = known.pop("locality") or None
        known["seeds"] = len(known.pop("accuracies"))
        return known | {"accuracy_mean": self.accuracy_mean, "accuracy_std": self.accuracy_std}


def row_path(folder: Path, ground: str, rule: str) -> Path:
    """The file of a row."""
    return folder / "rows" / f"{ground}-{rule}.json"


def read_row(folder: Path, ground: str, rule: str, budget: Tree) -> Row | None:
    """A row that was written with this budget, if there is one."""
    path = row_path(folder, ground, rule)
    if not path.exists():
        return None
    row = load_row(path)
    return row if row.budget == budget else None


def load_row(path: Path) -> Row:
    """A row of any budget."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Row(**found | {"accuracies": tuple(found["accuracies"]), "trials": tuple(found["trials"])})


def load_rows(folder: Path) -> list[Row]:
    """All rows in a folder, of any budget: by ground, best first."""
    rows = [load_row(path) for path in folder.glob("*.json")]
    return sorted(best_first(rows), key=lambda row: row.ground)


def best_first(rows: Iterable[Row]) -> list[Row]:
    """By accuracy; rules that cannot run come last."""
    return sorted(rows, key=lambda row: (1.0 if row.accuracy_mean is None else -row.accuracy_mean, row.rule))


def write_row(folder: Path, row: Row) -> None:
    """Keep a row."""
    path = row_path(folder, row.ground, row.rule)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps(asdict(row), indent=2) + "\n")


def as_csv(rows: Sequence[Row]) -> str:
    """All rows as a table; numbers that are not known are empty."""
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    table.writeheader()
    for row in rows:
        known = row.document()
        known["options"] = " ".join(f"{key}={value}" for key, value in row.options.items())
        for key in ("accuracy_mean", "accuracy_std", "step_ratio", "memory_ratio"):
            known[key] = "" if known[key] is None else f"{known[key]:.4f}"
        table.writerow({key: "" if value is None else value for key, value in known.items()})
    return text.getvalue()


FLAGS = {
    "rule.name": "--rule",
    "model.name": "--model",
    "data.name": "--data",
    "batch_size": "--batch-size",
    "steps": "--steps",
    "seed": "--seed",
}


def run_command(settings: Tree, plugin_files: Sequence[str] = ()) -> str:
    """The command line of a run with these settings, without the place of its data.

    Args:
        settings: Of the run.
        plugin_files: Files that it needs.
    """
    words = ["run"]
    flat = {key: value for key, value in flatten(settings).items() if key != "data.path"}
    for key, flag in FLAGS.items():
        if key in flat:
            words += [flag, str(flat.pop(key))]
    words += [word for setting in format_overrides(flat) for word in ("--set", setting)]
    return command_line(words, plugin_files)
