"""A comparison, whole: rules, how they differ from the control, and what a reader must know of the metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from localrules.comparison.results import (
    Proof,
    RuleResult,
    declared_locality,
    find_best,
    find_control,
    group_by_config,
    locality_in_runs,
    measured_locality,
)
from localrules.comparison.run_record import RunRecord
from localrules.comparison.scorer import SPLIT, CleanResult, RunPredictions, Scorer, differences, on_clean
from localrules.core.locality import Locality, is_within
from localrules.engine.environment import REPRODUCIBILITY_KEYS
from localrules.errors import LocalRulesError, error_text
from localrules.evaluation.metric import metric_entries
from localrules.utils.bootstrap import Difference

if TYPE_CHECKING:
    from localrules.registry.entries import MetricEntry
    from localrules.registry.registry import Registry

_CORES = ("threads", "parallel_layers")
_MACHINE = tuple(name for name in REPRODUCIBILITY_KEYS if name != "supplied_by")


@dataclass(frozen=True)
class Comparison:
    """All results of a comparison.

    Attributes:
        results: One for each rule, in order.
        control: The one that the others are compared with.
        differences: To the control, by label; a rule without one has no interval.
        best: The one with the highest mean accuracy on the valid split among those whose task is the control's;
            ``None`` where none was scored.
        to_best: Differences to it, by label.
        mismatches: By label, in what a rule's task differs from the control's: ``model`` or ``data``. Its accuracy
            cannot be compared with the others'.
        notes: Sentences.
        scores: By label, what ``eval`` has of each run on the valid split; of a rule that could be scored.
        clean: By label, what is left without the images that are known from training, where those were looked for.
        metrics: The plugins' metrics by name.
    """

    results: tuple[RuleResult, ...]
    control: RuleResult
    differences: dict[str, Difference]
    best: RuleResult | None
    to_best: dict[str, Difference]
    mismatches: dict[str, list[str]]
    notes: tuple[str, ...]
    scores: dict[str, list[dict[str, Any]]]
    clean: dict[str, CleanResult]
    metrics: dict[str, MetricEntry] = field(default_factory=dict)

    @property
    def ranked(self) -> list[RuleResult]:
        """The results, best first; those with another task than the control's, or without a run, come last."""

        def order(one: RuleResult) -> tuple[bool, float]:
            stats = one.stats("valid_accuracy")
            return one.label in self.mismatches, -(stats.mean if stats else -1.0)

        return sorted(self.results, key=order)

    @property
    def tied(self) -> list[str]:
        """Labels of the rules that cannot be told apart from the best: the interval of the difference has 0 in it."""
        return [label for label, found in self.to_best.items() if found.low <= 0 <= found.high]

    def rows(self) -> list[dict[str, Any]]:
        """The document that ``compare --json`` prints."""
        return [one.row() for one in self.results]

    def details(self) -> list[dict[str, Any]]:
        """The same with what else is known of each: differences, run folders, what does not fit the others."""
        return [
            {
                **one.row(),
                "train_accuracy_mean": spread.mean if (spread := one.stats("train_accuracy")) else None,
                "seconds_mean": spread.mean if (spread := one.stats("seconds")) else None,
                "difference_to": self.control.label,
                "difference": asdict(self.differences[one.label]) if one.label in self.differences else None,
                "clean": asdict(self.clean[one.label]) if one.label in self.clean else None,
                "proof": one.proof,
                "another": self.mismatches.get(one.label, []),
                "runs": [str(run.folder) for run in one.runs],
            }
            for one in self.results
        ]


def compare_rules(
    rules: Sequence[str],
    runs: Sequence[RunRecord],
    registry: Registry,
    answers: Scorer,
    notes: Sequence[str] = (),
) -> Comparison:
    """Compare the runs of these rules, in this order; a rule of which no run finished stays in the table."""
    members = {rule: tuple(run for run in runs if run.rule == rule) for rule in rules}
    return _build(members, registry, answers, notes)


def compare_runs(runs: Sequence[RunRecord], registry: Registry, answers: Scorer) -> Comparison:
    """Compare finished runs, whatever they are; those that differ in nothing but the seed are one row."""
    return _build(group_by_config(runs), registry, answers, ())


def _build(
    members: dict[str, tuple[RunRecord, ...]], registry: Registry, answers: Scorer, notes: Sequence[str]
) -> Comparison:
    results, doubts = _results(members, registry)
    against = find_control(results)
    others = {one.label: found for one in results if (found := _mismatches(one, against))}
    answered, missing = _predictions(results, answers)
    same_images = {label: found for label, found in answered.items() if "data" not in others.get(label, [])}
    best = find_best([one for one in results if one.label not in others])
    of_the_same_task = {label: found for label, found in same_images.items() if label not in others}
    return Comparison(
        results,
        against,
        differences(same_images, against.label),
        best,
        differences(of_the_same_task, best.label) if best else {},
        others,
        (*notes, *doubts, *missing, *_machines(results)),
        {label: [one.metrics for one in found] for label, found in answered.items()},
        on_clean(same_images, against.label),
        metric_entries(registry),
    )


def _results(members: dict[str, tuple[RunRecord, ...]], registry: Registry) -> tuple[tuple[RuleResult, ...], list[str]]:
    """The rules with their classes of locality, and a sentence where a class needs one."""
    found, doubts = [], []
    for label, runs in members.items():
        claim: Locality | None = None
        seen: Locality | None = None
        proof: Proof | None = None
        if runs:
            own = runs[0].registry or registry
            claim = declared_locality(runs[0].config, own)
            proof = "declared" if claim else None
            if seen := locality_in_runs(runs):
                proof = "measured in the run"
            else:
                try:
                    seen = measured_locality(runs[0], own)
                    proof = "measured in the lab"
                except Exception as error:  # a comparison that is done is not lost for what could not be measured
                    doubts.append(
                        f"The locality of {label} is what it declares; it could not be measured: {error_text(error)}."
                    )
        if seen and claim and not is_within(seen, claim):
            doubts.append(f"{label} declares {claim!r} and is {seen!r}: see localrules audit.")
        found.append(RuleResult(label, runs, seen or claim, proof))
    return tuple(found), doubts


def _mismatches(one: RuleResult, against: RuleResult) -> list[str]:
    """In what a rule's task is another than the control's."""
    if not one.runs or not against.runs:
        return []
    ours, theirs = one.runs[0], against.runs[0]
    found = []
    if _network_of(ours) != _network_of(theirs):
        found.append("model")
    if ours.record["trained_on"]["fingerprint"] != theirs.record["trained_on"]["fingerprint"]:
        found.append("data")
    return found


_OF_RULES = ("activation", "norm", "bias")  # options of networks that rules choose by their defaults


def _network_of(run: RunRecord) -> tuple[str, dict[str, Any]]:
    """The name of a run's network and its options, without those that belong to the rule."""
    options = {key: value for key, value in run.config.model.options.items() if key not in _OF_RULES}
    return run.record["model"]["name"], options


def _predictions(results: Sequence[RuleResult], answers: Scorer) -> tuple[dict[str, list[RunPredictions]], list[str]]:
    """The predictions of each rule's runs, by label, and a sentence for each run that could not be loaded."""
    found: dict[str, list[RunPredictions]] = {}
    notes = []
    for one in (one for one in results if one.runs):
        try:
            found[one.label] = [answers.predictions(run) for run in one.runs]
        except LocalRulesError as error:
            notes.append(f"{one.label} has no interval on the {SPLIT} split: {error.what}.")
    return found, notes


def _machines(results: Sequence[RuleResult]) -> list[str]:
    """A sentence where times cannot be held against each other."""
    names = (*_MACHINE, *_CORES)
    found = [
        (*(run.record["environment"].get(name) for name in _MACHINE), *(getattr(run.config, name) for name in _CORES))
        for one in results
        for run in one.runs
    ]
    if all(one == found[0] for one in found):
        return []
    differ = [name for name, *values in zip(names, *found, strict=True) if len({*values}) > 1]
    return [f"The runs differ in {', '.join(differ)}: their times and memory cannot be held against each other."]
