"""Check that a rule learns from the targets that it says it can learn from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from localrules.auditing.traces import Trace, train_from_perturbed
from localrules.data.batches import Batches, DataBatch
from localrules.kernels.labels import class_codes
from localrules.testing.conformance.checks.reproducibility_checks import CLOSE, distance_and_norm
from localrules.testing.conformance.subject import NotApplicable, RuleUnderTest

if TYPE_CHECKING:
    from torch import Tensor


def soft_targets_are_honoured(subject: RuleUnderTest) -> None:
    """With ``Requirements.targets`` beyond labels: one-hot targets give the update of labels, mixed ones another."""
    if not subject.rule.info.requires.admits("probabilities"):
        raise NotApplicable("it needs labels")
    plain, same, mixed = (_learned(subject, fraction) for fraction in (None, 1.0, 0.6))
    # The readout, which comes last, learns from the targets by itself; hidden layers too, unless they see no labels.
    seen = len(plain) if subject.rule.info.locality == "local" else len(plain) - 1
    moved = False
    for place, (one, other, third) in enumerate(zip(plain, same, mixed, strict=True)):
        for found, again, changed in (
            (one.gradients, other.gradients, third.gradients),
            (one.state, other.state, third.state),
        ):
            distance, norm = distance_and_norm(found, again)
            assert distance <= CLOSE * norm + 1e-6, (
                f"one-hot targets in place of labels move what a layer learns, of norm {norm:.3g}, by {distance:.3g}"
            )
            distance, norm = distance_and_norm(found, changed)
            moved |= place < seen and distance > CLOSE * norm
    assert moved, "mixed targets teach the same as labels: read view.targets, not view.labels"


def _learned(subject: RuleUnderTest, fraction: float | None) -> list[Trace]:
    """Traces of a step with soft targets: a fraction is the label's code, the rest that of another image."""
    session = subject.session()
    if fraction is not None:
        session.batches = cast(Batches, _Softened(session.batches, fraction, len(session.data.classes)))
    return train_from_perturbed(session, 1, seed=0)


class _Softened:
    """The same batches with soft targets."""

    def __init__(self, batches: Batches, fraction: float, classes: int) -> None:
        self._batches, self._fraction, self._classes = batches, fraction, classes

    def batch(self, step: int) -> DataBatch:
        batch = self._batches.batch(step)
        codes: Tensor = class_codes(batch.labels, self._classes)
        return replace(batch, soft_targets=self._fraction * codes + (1 - self._fraction) * codes.roll(1, 0))
