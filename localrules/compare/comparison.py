"""A comparison, whole: contestants, how they differ from the control, and what a reader must know of the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from localrules.compare.contestants import Contestant, control, grouped
from localrules.compare.intervals import SPLIT, Answered, Answers, Clean, Difference, differences, on_clean
from localrules.compare.locality import declared, measured
from localrules.compare.runs import Run
from localrules.core.locality import Locality, reaches_no_further
from localrules.engine.environment import BITS_DEPEND_ON
from localrules.errors import LocalRulesError

if TYPE_CHECKING:
    from localrules.plugins import Registry

_CORES = ("threads", "layers_at_once")
_MACHINE = tuple(name for name in BITS_DEPEND_ON if name != "supplied_by")


@dataclass(frozen=True)
class Comparison:
    """What there is to show.

    Attributes:
        contestants: The rows, in order.
        control: The one that the others are held against.
        differences: To the control, by label; a contestant without one has no interval.
        others: By label, in what a contestant's task differs from the control's: ``model`` or ``data``. Its accuracy
            cannot be held against the others'.
        notes: Sentences.
        scores: By label, what ``eval`` has of each run on the valid split; of a contestant that could be scored.
        clean: By label, what is left without the pictures that are known from training, where those were looked for.
    """

    contestants: tuple[Contestant, ...]
    control: Contestant
    differences: dict[str, Difference]
    others: dict[str, list[str]]
    notes: tuple[str, ...]
    scores: dict[str, list[dict[str, Any]]]
    clean: dict[str, Clean]

    def rows(self) -> list[dict[str, Any]]:
        """What ``compare --json`` prints."""
        return [one.row() for one in self.contestants]

    def details(self) -> list[dict[str, Any]]:
        """The same with what else is known of each: differences, run folders, what does not fit the others."""
        return [
            {
                **one.row(),
                "train_accuracy_mean": spread.mean if (spread := one.spread("train_accuracy")) else None,
                "seconds_mean": spread.mean if (spread := one.spread("seconds")) else None,
                "difference_to": self.control.label,
                "difference": asdict(self.differences[one.label]) if one.label in self.differences else None,
                "clean": asdict(self.clean[one.label]) if one.label in self.clean else None,
                "another": self.others.get(one.label, []),
                "runs": [str(run.folder) for run in one.runs],
            }
            for one in self.contestants
        ]


def of_rules(
    rules: Sequence[str],
    runs: Sequence[Run],
    registry: Registry,
    answers: Answers,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare the runs of these rules, in this order; a rule of which no run finished stays in the table."""
    members = {rule: tuple(run for run in runs if run.rule == rule) for rule in rules}
    return _compared(members, registry, answers, notes)


def of_runs(runs: Sequence[Run], registry: Registry, answers: Answers) -> Comparison:
    """Compare finished runs, whatever they are; those that differ in nothing but the seed are one row."""
    return _compared(grouped(runs), registry, answers, ())


def _compared(
    members: dict[str, tuple[Run, ...]], registry: Registry, answers: Answers, notes: Sequence[str]
) -> Comparison:
    contestants, doubts = _contestants(members, registry)
    against = control(contestants)
    others = {one.label: found for one in contestants if (found := _another(one, against))}
    answered, missing = _answered(contestants, answers)
    same_pictures = {label: found for label, found in answered.items() if "data" not in others.get(label, [])}
    return Comparison(
        contestants,
        against,
        differences(same_pictures, against.label),
        others,
        (*notes, *doubts, *missing, *_machines(contestants)),
        {label: [one.figures for one in found] for label, found in answered.items()},
        on_clean(same_pictures, against.label),
    )


def _contestants(members: dict[str, tuple[Run, ...]], registry: Registry) -> tuple[tuple[Contestant, ...], list[str]]:
    """The contestants with their classes of locality, and a sentence where a class needs one."""
    found, doubts = [], []
    for label, runs in members.items():
        claim: Locality | None = None
        seen: Locality | None = None
        if runs:
            claim = declared(runs[0].config, registry)
            try:
                seen = measured(runs[0], registry)
            except Exception as error:  # a comparison that is done is not lost for what could not be measured
                doubts.append(f"The locality of {label} is what it declares; it could not be measured: {error}.")
        if seen and claim and not reaches_no_further(seen, claim):
            doubts.append(f"{label} declares {claim!r} and is {seen!r}: see localrules audit.")
        found.append(Contestant(label, runs, seen or claim))
    return tuple(found), doubts


def _another(one: Contestant, against: Contestant) -> list[str]:
    """In what a contestant's task is another than the control's."""
    if not one.runs or not against.runs:
        return []
    ours, theirs = one.runs[0], against.runs[0]
    found = []
    if ours.record["model"]["name"] != theirs.record["model"]["name"]:
        found.append("model")
    if ours.record["trained_on"]["fingerprint"] != theirs.record["trained_on"]["fingerprint"]:
        found.append("data")
    return found


def _answered(contestants: Sequence[Contestant], answers: Answers) -> tuple[dict[str, list[Answered]], list[str]]:
    """What each contestant's runs say, by label, and a sentence for who could not be asked."""
    found: dict[str, list[Answered]] = {}
    notes = []
    for one in (one for one in contestants if one.runs):
        try:
            found[one.label] = [answers.of(run) for run in one.runs]
        except LocalRulesError as error:
            notes.append(f"{one.label} has no interval on the {SPLIT} split: {error.what}.")
    return found, notes


def _machines(contestants: Sequence[Contestant]) -> list[str]:
    """A sentence where times cannot be held against each other."""
    names = (*_MACHINE, *_CORES)
    found = [
        (*(run.record["environment"].get(name) for name in _MACHINE), *(getattr(run.config, name) for name in _CORES))
        for one in contestants
        for run in one.runs
    ]
    if all(one == found[0] for one in found):
        return []
    differ = [name for name, *values in zip(names, *found, strict=True) if len({*values}) > 1]
    return [f"The runs differ in {', '.join(differ)}: their times and memory cannot be held against each other."]
