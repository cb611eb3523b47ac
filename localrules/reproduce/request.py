"""What a user asks of a reproduction."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from localrules.config.overrides import Tree
from localrules.config.settings import Settings, merge_settings
from localrules.errors import UsageError
from localrules.evaluation.metric import MetricFiles


@dataclass(frozen=True)
class ReproductionRequest:
    """What a user asks for.

    Attributes:
        scale: The fraction of each row's published budget.
        seeds: How many runs of each row, with seeds from 0; ``None``: the row's own.
        rows: Only rows whose name fits this pattern, whatever the case of its letters; with another pattern than ``*``
            an experiment without rows is left out.
        below: Settings for what rows leave open: ``model`` and ``data``.
        over: Settings that replace the rows' own.
        typed: ``below`` and ``over`` as a user typed them, but for names; where there are any, no run is as published.
        incidental: Settings that change no result, such as threads and trackers.
        data_path: The file of a row's data set, or a folder in which it lies under the data set's name.
        metrics: The files of plugins' metrics to compute, by name.
    """

    scale: float = 1.0
    seeds: int | None = None
    cases: str = "*"
    defaults: Settings = field(default_factory=Settings)
    overrides: Settings = field(default_factory=Settings)
    raw_overrides: tuple[str, ...] = ()
    incidental: Tree = field(default_factory=dict)
    data_path: Path | None = None
    metrics: MetricFiles = field(default_factory=dict)


def parse_settings(words: tuple[str, ...], named: Settings) -> tuple[Settings, Settings]:
    """What was typed: of the data set and the model, for rows that leave them open; and for all rows.

    Args:
        words: ``a.b=c``, as they were typed.
        named: The names of ``data`` and ``model``, where there were any.

    Raises:
        UsageError: A word sets what is not the user's to set here.
    """
    settings = Settings.from_overrides(words)
    for key, why in (
        ("rule", "each row has its own; that is what is compared"),
        ("steps", "--scale says how long"),
        ("epochs", "--scale says how long"),
        ("seed", "--seeds says how many; they count from 0"),
    ):
        if key in settings.tree:
            raise UsageError(
                f"{key!r} is not set for a reproduction", where=settings.source_of(key), why=why, fix="leave it out"
            )
    own = settings.without(*(key for key in settings.tree if key not in ("data", "model")))
    return merge_settings(own, named), settings.without("data", "model")
