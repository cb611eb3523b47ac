"""The audit of one rule on one network: what it claims, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from localrules.auditing.branches import LARGE
from localrules.auditing.circumstances import STEPS
from localrules.auditing.dependence import Dependence, measure_dependence, merge
from localrules.auditing.forks import in_fork_if_possible
from localrules.auditing.locality_class import measure_class
from localrules.auditing.ownership import unowned_parameters, watch_writes, written_directly
from localrules.core.locality import LOCALITY_DESCRIPTIONS, LOCALITY_LEVELS, Locality, is_within
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.utils.torch_utils import preserve_global_state

PLACES = 4  # behind which all layers are changed at once, where the circumstances are others

MOST_LISTED = 10  # pairs of layers, or parameters, in sentences; the matrix shows all pairs


@dataclass(frozen=True)
class Audit:
    """The declared and the measured locality.

    Attributes:
        declared: The class of locality that the rule claims.
        measured: The class that was found.
        dependence: Whose update depends on whose parameters.
        faults: Other faults, in sentences: parameters without one owner, writes to other layers, writes without an
            optimizer.
    """

    declared: Locality
    measured: Locality
    dependence: Dependence
    faults: tuple[str, ...] = ()

    @property
    def known_class(self) -> Locality | None:
        """The class that was found; ``None`` where the rule is not deterministic, so that none can be measured."""
        return self.measured if self.dependence.deterministic else None

    @property
    def holds(self) -> bool:
        """Whether the rule was seen to learn, reaches no further than it says, and every parameter has one owner."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """The reasons why it does not hold; empty if it does."""
        found = []
        if not self.dependence.deterministic:
            found.append(
                "two trainings from one state differ, so that the class cannot be measured: something is kept outside "
                "of the session, or random numbers come from a generator that it does not seed (random, numpy, time)"
            )
        elif not is_within(self.measured, self.declared):
            found.append(
                f"it declares {self.declared!r} and is {self.measured!r}: {LOCALITY_DESCRIPTIONS[self.measured]}"
            )
            leaks = self.dependence.leaks
            beyond = " and which is in none of its windows" if self.declared == "window" else ""
            found += _limit([f"{layer} depends on {other}, which it does not read{beyond}" for layer, other in leaks])
        if not self.dependence.observed:
            found.append("no hidden layer was seen to learn: no gradient, and no state of the rule's moved")
        return [*found, *self._unowned_state, *self.faults]

    @property
    def _unowned_state(self) -> list[str]:
        """State that all layers may read and that knows of later ones, in sentences, where layers may not."""
        if LOCALITY_LEVELS.index(self.declared) > LOCALITY_LEVELS.index("window"):
            return []
        return _limit(
            [
                f"the rule's state {name!r} is said to be of no layer, so all may read it, and depends on {other}: "
                "name it after its layer (see Rule.buffers_for)"
                for name, other in self.dependence.unowned_state
            ]
        )

    def as_dict(self, rule: str, model: str) -> dict[str, Any]:
        """The document that ``localrules audit --json`` prints."""
        return {
            "rule": rule,
            "model": model,
            "class": self.known_class,
            "declared": self.declared,
            "holds": self.holds,
            "layers": list(self.dependence.layers),
            "depends": [list(row) for row in self.dependence.depends],
            "reasons": self.reasons,
            "leaks": [
                {"layer": layer, "on": other, "through": self.dependence.through(layer, other)}
                for layer, other in self.dependence.leaks
            ],
        }


def _limit(sentences: list[str]) -> list[str]:
    more = len(sentences) - MOST_LISTED
    return sentences if more <= 0 else [*sentences[:MOST_LISTED], f"and {more} more"]


def audit(
    build: Callable[[], Session],
    declared: Locality,
    *,
    elsewhere: Sequence[Callable[[], Session]] = (),
    seed: int = 0,
) -> Audit:
    """Measure a rule on a network, with one training for each layer and a few more.

    Args:
        build: Makes a fresh session, each time the same, of 3 steps or more. Small images and batches do.
        declared: What the rule claims.
        elsewhere: The same network and rule under other circumstances: other batches, images, classes, precision.
            There layers are changed more, all behind a place at once, and the network predicts between steps. What is
            found under any of them counts; the class is measured there where it may go further.
        seed: Of the noise that makes the state generic.
    """
    with preserve_global_state():
        return _audit(build, declared, elsewhere, seed)


def _audit(
    build: Callable[[], Session], declared: Locality, elsewhere: Sequence[Callable[[], Session]], seed: int
) -> Audit:
    dependence = measure_dependence(build, steps=STEPS, seed=seed)
    measured = measure_class(build, dependence, steps=STEPS, seed=seed)
    parts = [dependence]
    for other in elsewhere:
        steps = other().total_steps
        parts.append(measure_dependence(other, steps=steps, seed=seed, relative=LARGE, predict=True, places=PLACES))
        if _may_exceed(parts[-1], measured):
            found = measure_class(other, parts[-1], steps=steps, seed=seed)
            measured = max(measured, found, key=LOCALITY_LEVELS.index)
    return Audit(declared, measured, merge(parts), tuple(in_fork_if_possible(lambda: ownership_faults(build))))


def _may_exceed(found: Dependence, measured: Locality) -> bool:
    """Whether a class beyond the measured one may be found where layers depend so on each other."""
    furthest: Locality = "window" if found.uses_windows else "local-labels"
    if found.leaks:
        furthest = "backprop"  # a rule may come to it later, or in larger batches alone
    return LOCALITY_LEVELS.index(measured) < LOCALITY_LEVELS.index(furthest)


def ownership_faults(build: Callable[[], Session]) -> list[str]:
    """Parameters that not exactly one layer owns, writes to tensors of other layers, and writes without an optimizer.

    Args:
        build: Makes a fresh session of three steps or more.

    Returns:
        Sentences.
    """
    session = build()
    found = unowned_parameters(session)
    with watch_writes(session) as trespasses:
        train_steps(session, 2)
    seen = dict.fromkeys((trespass.stepping, trespass.tensor) for trespass in trespasses)
    return [
        *found,
        *(f"while {stepping} steps, {tensor} is written to" for stepping, tensor in seen),
        *_limit([f"a step writes to {name} without an optimizer" for name in written_directly(build())]),
    ]
