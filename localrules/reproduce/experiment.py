"""What a plugin says of an experiment from the literature: configurations, and the figures that were published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Metric = Literal["test_accuracy", "valid_accuracy", "train_accuracy"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration of a run, and one published figure.

    Attributes:
        name: Unique in its experiment, e.g. ``"MNIST, cosine"``.
        settings: As for a run, nested: ``rule``, ``model``, ``data`` and whatever is not a default. Its ``epochs`` or
            ``steps`` are the published budget. What it leaves open, the command line may fill: ``data``, ``model``.
        published: The figure, in percent; accuracies, never errors.
        source: The paper's table or figure, with a link.
        metric: What was published: an accuracy, of the last weights.
        seeds: Of the runs, where nobody asks for others. The mean over them is held against the published figure.
        differs: In what our run is not the published one, in a line; empty where it is.
    """

    name: str
    settings: dict[str, Any]
    published: float
    source: str
    metric: Metric = "test_accuracy"
    seeds: tuple[int, ...] = (0, 1, 2)
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Rows that belong together, such as those of one table. Its name and summary are its entry's.

    Attributes:
        rows: In the order of the table.
        notes: What holds for all of them, and which figures have no row and why; a sentence or two each.
    """

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
