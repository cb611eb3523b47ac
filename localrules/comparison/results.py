"""Results of a rule: its runs, one per seed, and their statistics."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Any, Literal

from localrules.auditing.dependence import measure_dependence
from localrules.auditing.locality_class import measure_class
from localrules.comparison.run_record import RunRecord
from localrules.config.diff import differing_settings, identity_settings, without_incidental
from localrules.config.schema import JOINT, RunConfig, ScheduleConfig
from localrules.core.locality import LOCALITY_LEVELS, Locality
from localrules.engine.resolve import resolve_config
from localrules.engine.resolved_run import declared_locality as furthest_declared
from localrules.engine.session import Session
from localrules.errors import LocalRulesError
from localrules.testing.conformance.sessions import toy_dataset

if TYPE_CHECKING:
    from localrules.core.base import RuleBase
    from localrules.registry.registry import Registry

CONTROL = "backprop"

Proof = Literal["declared", "measured in the lab", "measured in the run"]
"""How a class of locality is known: from the rule alone; from a few steps on small generated images; from every run."""
_SHOWN = 3  # settings in a label
_LENGTH = 20  # of a setting's value in a label


@dataclass(frozen=True)
class SeedStats:
    """A metric over seeds.

    Attributes:
        mean: Its mean.
        std: Its standard deviation, with n - 1 below the root; ``None`` for one seed.
        low, high: The least and the most.
    """

    mean: float
    std: float | None
    low: float
    high: float


@dataclass(frozen=True)
class RuleResult:
    """A row of the comparison.

    Attributes:
        label: What it is called: the rule, with settings where that would not tell it from another.
        runs: Its finished runs by seed; none where all diverged.
        locality: The class of its rule, measured where that could be; ``None`` without a rule or a run to measure.
        proof: How the class is known.
    """

    label: str
    runs: tuple[RunRecord, ...]
    locality: Locality | None
    proof: Proof | None = None

    def stats(self, metric: str) -> SeedStats | None:
        """A metric of the summaries over seeds; ``None`` where no run has it."""
        values = self._values(metric)
        if not values:
            return None
        return SeedStats(mean(values), stdev(values) if len(values) > 1 else None, min(values), max(values))

    @property
    def step_seconds(self) -> float | None:
        """The median over runs of the median time of a step."""
        values = self._values("step_seconds")
        return median(values) if values else None

    @property
    def peak_memory_mib(self) -> float | None:
        """The most that any run's training step took."""
        return max(self._values("peak_memory_mib"), default=None)

    @property
    def parameters(self) -> int | None:
        """Number of trained parameters of the network."""
        return self.runs[0].summary["parameters"] if self.runs else None

    def row(self) -> dict[str, Any]:
        """Its part of what ``compare --json`` prints."""
        valid = self.stats("valid_accuracy")
        return {
            "rule": self.label,
            "seed_count": len(self.runs),
            "valid_accuracy_mean": valid.mean if valid else None,
            "valid_accuracy_std": valid.std if valid else None,
            "step_seconds": self.step_seconds,
            "peak_memory_mib": self.peak_memory_mib,
            "parameters": self.parameters,
            "class": self.locality,
        }

    def _values(self, metric: str) -> list[float]:
        return [run.summary[metric] for run in self.runs if run.summary.get(metric) is not None]


def find_control(results: Sequence[RuleResult]) -> RuleResult:
    """The one that the others are held against: the best back-propagation; the first where there is none."""
    controls = [one for one in results if one.label == CONTROL or (one.runs and one.runs[0].rule == CONTROL)]
    return find_best(controls) or next(iter(controls), results[0])


def find_best(results: Sequence[RuleResult]) -> RuleResult | None:
    """The one with the highest mean accuracy on the valid split; ``None`` where none has one."""
    scored = [(stats.mean, one) for one in results if (stats := one.stats("valid_accuracy")) is not None]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def group_by_config(runs: Iterable[RunRecord]) -> dict[str, tuple[RunRecord, ...]]:
    """Runs that differ in nothing but the seed, together, by a label that tells them apart.

    Of two runs with one seed the later counts: a run that was made twice is not two.
    """
    groups: dict[str, dict[int, RunRecord]] = {}
    for run in runs:
        supplied = run.record["environment"].get("supplied_by")
        same = [identity_settings(run.settings), run.record["trained_on"]["fingerprint"], supplied]
        groups.setdefault(json.dumps(same, sort_keys=True), {})[run.config.seed] = run
    members = [tuple(group[seed] for seed in sorted(group)) for group in groups.values()]
    return dict(zip(_labels([group[0] for group in members]), members, strict=True))


def _distinguishing(own: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """The few of the settings in which runs differ that make a label: the rule's own first, and short ones alone."""
    short = {name: row for name, row in own.items() if all(len(str(value)) <= _LENGTH for value in row)} or own
    ordered = sorted(short, key=lambda name: not name.startswith("rule."))
    return {name: short[name] for name in ordered[:_SHOWN]}


def _labels(firsts: list[RunRecord]) -> list[str]:
    labels: list[str] = []
    for run in firsts:
        alike = [other for other in firsts if other.rule == run.rule]
        own = differing_settings([without_incidental(other.settings) for other in alike])
        words = [f"{name}={row[alike.index(run)]}" for name, row in _distinguishing(own).items()]
        label = f"{run.rule} ({', '.join(words)})" if words else run.rule
        # Where settings do not tell them apart, the data or the plugin's version does.
        labels.append(label if label not in labels else f"{label} #{len(labels) + 1}")
    return labels


_STEPS, _BATCH = 3, 8


def declared_locality(config: RunConfig, registry: Registry) -> Locality | None:
    """The declared class of locality, of a mixture the furthest; ``None`` if a rule is not installed."""
    try:
        return furthest_declared(_kinds(config, registry), config.granularity)
    except LocalRulesError:
        return None


def locality_in_runs(runs: Sequence[RunRecord]) -> Locality | None:
    """The furthest class that the runs measured of themselves (``run --audit``); ``None`` if one of them did not."""
    found = [run.summary.get("locality", {}).get("measured") for run in runs]
    known: list[Locality] = [one for one in found if one in LOCALITY_LEVELS]
    return max(known, key=LOCALITY_LEVELS.index) if known and len(known) == len(runs) else None


def measured_locality(run: RunRecord, registry: Registry) -> Locality:
    """The class measured on a few generated images of the run's size, with a training for each layer.

    Raises:
        Exception: Whatever the rule or the network raises on so few images.
    """
    known = run.record["trained_on"]
    config = run.config.model_copy(
        update={
            "steps": _STEPS,
            "epochs": None,
            "batch_size": max(_BATCH, *(kind.info.requires.min_batch for kind in _kinds(run.config, registry))),
            "schedule": ScheduleConfig(name="constant"),
            "phases": JOINT,
            "diagnostics": (),
            "device": "cpu",
            "precision": "fp32",
        }
    )
    resolved = resolve_config(config, registry, network_only=True)
    images = toy_dataset(2 * config.batch_size, len(known["classes"]), tuple(known["shape"]))

    def build() -> Session:
        return Session.build(resolved, images)

    return measure_class(build, measure_dependence(build, steps=_STEPS), steps=_STEPS)


def _kinds(config: RunConfig, registry: Registry) -> list[type[RuleBase]]:
    return [registry.resolve("rule", part.name) for _, part in config.rule.parts]
