"""Specification of an experiment from the literature: configurations, published values, and claim."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from localrules.config.overrides import Tree
from localrules.errors import UsageError

if TYPE_CHECKING:
    from localrules.reproduce.artifacts import ArtifactWriter

ALL, REBUILT = "all", "paper"
"""The word for everything: the suite of the paper that this project rebuilds."""

Metric = Literal["test_accuracy", "valid_accuracy", "train_accuracy"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One configuration of a run, and its published value, if there is one.

    Attributes:
        name: Unique in its experiment, e.g. ``"MNIST, cosine"``.
        settings: As for a run, nested: ``rule``, ``model``, ``data`` and whatever is not a default. Its ``epochs`` or
            ``steps`` are the published budget. What it leaves open, the command line may fill: ``data``, ``model``;
            options of a model may stand here without its name.
        published: The value, in percent; accuracies, never errors. ``None``: there is only the experiment's claim.
        source: The paper's table or figure, with a link.
        published_on: On what the value was published, where the settings do not say so: what they leave open, e.g.
            ``{"data": "fer2013"}``, or the ``model`` in words, if it is none of ours. Other runs are not compared.
        metric: What was published: an accuracy, of the last weights.
        seeds: Of the runs, where nobody asks for others. The mean over them is compared with the published value.
        deviations: In what our run is not the published one, in a line; empty where it is.
    """

    name: str
    settings: dict[str, Any]
    published: float | None
    source: str
    published_on: Mapping[str, str] = field(default_factory=dict)
    metric: Metric = "test_accuracy"
    seeds: tuple[int, ...] = (0, 1, 2)
    deviations: str = ""

    @property
    def published_for(self) -> dict[str, str]:
        """The ``data`` and, where it is none of ours, the ``model`` that the value was published for."""
        data = self.settings.get("data", {}).get("name")
        return {**({} if data is None else {"data": data}), **self.published_on}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Cases that belong together, such as those of one table. Its name and summary are its entry's.

    Attributes:
        cases: In the order of the table. None: an experiment that looks at data, and trains nothing.
        claim: What the source says that it shows, in words; empty if its values say it all.
        notes: What holds for all of them, and which published values have no case and why; a sentence or two each.
        report: Draws and tabulates what the cases' own table cannot tell, once they are done.
    """

    cases: tuple[Case, ...]
    claim: str = ""
    notes: tuple[str, ...] = ()
    report: Callable[[ArtifactWriter], None] | None = None


@dataclass(frozen=True)
class Budget:
    """A run's length beside the published one.

    Attributes:
        length: Of our run.
        published: As it was published.
        unit: In which both are counted.
    """

    length: float
    published: float
    unit: Literal["epochs", "steps"]

    @classmethod
    def of(cls, name: str, settings: Tree, scale: float) -> Budget:
        """The budget of a case at a scale.

        Args:
            name: The case's, for the error.
            settings: The case's; their length is the published one.
            scale: The fraction to do.

        Raises:
            UsageError: The case has no length, or two.
        """
        given = [unit for unit in ("epochs", "steps") if settings.get(unit) is not None]
        if len(given) != 1:
            raise UsageError(
                f"case {name!r} does not say how long the published training was",
                why=f"it gives {' and '.join(given) or 'neither epochs nor steps'}",
                fix="its author gives one of epochs and steps in the case's settings",
            )
        if given[0] == "steps":
            return cls(max(1, round(scale * settings["steps"])), settings["steps"], "steps")
        return cls(scale * settings["epochs"], settings["epochs"], "epochs")

    @property
    def is_full(self) -> bool:
        """Whether nothing was saved."""
        return self.length >= self.published

    def __str__(self) -> str:
        return f"{self.length:g} of {self.published:g} {self.unit}"
