"""What a plugin says of an experiment from the literature: configurations, published figures, and what was claimed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from localrules.reproduce.exhibition import Exhibition

ALL, REBUILT = "all", "paper"
"""The word for everything: the suite of the paper that this project rebuilds."""

Metric = Literal["test_accuracy", "valid_accuracy", "train_accuracy"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration of a run, and its published figure, if there is one.

    Attributes:
        name: Unique in its experiment, e.g. ``"MNIST, cosine"``.
        settings: As for a run, nested: ``rule``, ``model``, ``data`` and whatever is not a default. Its ``epochs`` or
            ``steps`` are the published budget. What it leaves open, the command line may fill: ``data``, ``model``;
            options of a model may stand here without its name.
        published: The figure, in percent; accuracies, never errors. ``None``: there is only the experiment's claim.
        source: The paper's table or figure, with a link.
        published_on: For what the settings leave open, on what the figure was published, e.g. ``{"data": "fer2013"}``.
        metric: What was published: an accuracy, of the last weights.
        seeds: Of the runs, where nobody asks for others. The mean over them is held against the published figure.
        differs: In what our run is not the published one, in a line; empty where it is.
    """

    name: str
    settings: dict[str, Any]
    published: float | None
    source: str
    published_on: Mapping[str, str] = field(default_factory=dict)
    metric: Metric = "test_accuracy"
    seeds: tuple[int, ...] = (0, 1, 2)
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Rows that belong together, such as those of one table. Its name and summary are its entry's.

    Attributes:
        rows: In the order of the table. None: an experiment that looks at data, and trains nothing.
        claim: What the source says that it shows, in words; empty where its figures say it all.
        notes: What holds for all of them, and which figures have no row and why; a sentence or two each.
        show: Draws and tabulates what the rows' own table cannot tell, once they are done.
    """

    rows: tuple[Row, ...]
    claim: str = ""
    notes: tuple[str, ...] = ()
    show: Callable[[Exhibition], None] | None = None
