"""Checks of batches that give a rule little to go by, of batches of other sizes, and of half precision."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from localrules.auditing.traces import train_from_perturbed
from localrules.data.batches import Batches, DataBatch
from localrules.data.dataset import Dataset, Split
from localrules.engine.compatibility import scales_losses
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.errors import NotFiniteError, UsageError
from localrules.testing.conformance.checks.reproducibility_checks import state
from localrules.testing.conformance.subject import NotApplicable, Place, RuleUnderTest, abbreviate, toy_images

STEPS = 3
COPIES = 4
SUM = 0.95  # of the copies: a sum reaches all of them, learned points beside the batch a part


def hard_batches_stay_finite(subject: RuleUnderTest) -> None:
    """Batches of one class, of constant images, of one repeated image: objectives and weights stay finite."""
    data = toy_images(2 * subject.batch_size)
    images, labels = data.split("train").images, data.split("train").labels
    cases = {
        "one class": Split(images, torch.zeros_like(labels)),
        "constant images": Split(torch.full_like(images, 77), labels),
        "the same image each time": Split(images[:1].expand_as(images).clone(), labels),
        "black images of one class": Split(torch.zeros_like(images), torch.zeros_like(labels)),
    }
    *others, hardest = cases
    layers = Place(subject.networks[-1])
    tried = [(layers, case) for case in others] + [(place, hardest) for place in subject.distinct_places]
    for place, case in tried:
        _stays_finite(subject.session(place, data=_with(data, cases[case])), f"{case}, {place}")


def the_smallest_batch_trains(subject: RuleUnderTest) -> None:
    """Batches of ``Requirements.min_batch`` images, and of two: all stays finite, and every layer learns."""
    for size in dict.fromkeys((subject.rule.info.requires.min_batch, max(2, subject.rule.info.requires.min_batch))):
        for place in subject.distinct_places:
            try:
                # Decay would move weights that learn nothing.
                session = subject.session(place, batch_size=size, optimizer={"weight_decay": 0.0})
                _trains(session, f"batches of {size}, {place}")
            except UsageError:
                if size > 1:  # of one image, the network's norms make nothing
                    raise


def multi_operation_layers_stay_finite(subject: RuleUnderTest) -> None:
    """Layers with several operations and outputs: it trains them and stays finite."""
    merged = [place for place in subject.places if place.granularity != "layer"]
    if not merged:
        raise NotApplicable(subject.incompatibility(Place(subject.networks[-1], 1)))
    for place in merged:
        _stays_finite(subject.session(place), str(place))


def half_precision_trains(subject: RuleUnderTest) -> None:
    """Under bf16 autocast all stays finite, and every layer learns; also in fp16, if the rule supports it."""
    for place in subject.distinct_places:
        _trains(subject.session(place, precision="bf16", optimizer={"weight_decay": 0.0}), f"bf16, {place}")
    if scales_losses(subject.rule):
        place = subject.distinct_places[-1]
        _stays_finite(subject.session(place, precision="fp16"), f"fp16, {place}")


def updates_are_means_over_a_batch(subject: RuleUnderTest) -> None:
    """A batch in which each image occurs four times does not teach a hidden layer four times as much."""
    lengths: list[dict[str, float]] = []
    for times in (1, COPIES):
        session = subject.session(optimizer={"grad_clip_norm": None})
        session.batches = cast("Batches", _Repeated(session.batches, times))
        names = [layer.name for layer in session.network.hidden]
        traces = train_from_perturbed(session, 1, seed=0)[:-1]
        lengths.append({name: _length(trace.gradients) for name, trace in zip(names, traces, strict=True)})
    ratios = {name: lengths[1][name] / one for name, one in lengths[0].items() if one > 0}
    if not ratios:
        raise NotApplicable("its layers have no gradients")
    sums = [name for name, ratio in ratios.items() if ratio > SUM * COPIES]
    assert not sums, (
        f"where each image occurs {COPIES} times, gradients are as many times as long in {abbreviate(sums)}: "
        "sums over a batch should be means, or every learning rate belongs to one batch size"
    )


class _Repeated:
    """Batches in which each image occurs several times."""

    def __init__(self, batches: Batches, times: int) -> None:
        self._batches, self._times = batches, times

    def batch(self, step: int) -> DataBatch:
        batch, times = self._batches.batch(step), self._times
        tensors = {name: value for name, value in vars(batch).items() if value is not None}
        return replace(batch, **{name: torch.cat([value] * times) for name, value in tensors.items()})


def _length(gradients: list[Tensor | None]) -> float:
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients if gradient is not None))


def _trains(session: Session, case: str) -> None:
    learning = {
        layer.name: [each for each in layer.parameters() if each.requires_grad]
        for layer in session.network.layers
        if session.rule.trains(layer)
    }
    before = {name: [each.detach().clone() for each in weights] for name, weights in learning.items()}
    _stays_finite(session, case, session.total_steps)  # an error may come down by one layer a step
    still = [name for name, weights in learning.items() if weights and all(map(torch.equal, before[name], weights))]
    assert not still, (
        f"{case}: training changed nothing in {abbreviate(still)}; is min_batch too small, or do gradients vanish?"
    )


def _stays_finite(session: Session, case: str, steps: int = STEPS) -> None:
    for phase in session.phases:
        apply_phase(phase, session.network, session.trainable)
        for step in range(phase.start, min(phase.stop, phase.start + steps)):
            try:
                report = train_step(session, phase, step).report
            except NotFiniteError as error:
                raise AssertionError(
                    f"{case}: the objective of a layer is not finite: {error.what} ({error.where})"
                ) from error
            wrong = [layer for layer, value in report.objectives.items() if not math.isfinite(float(value))]
            assert not wrong, f"{case}: the objective of {abbreviate(wrong)} is not finite"
    wrong = [name for name, tensor in state(session).items() if not bool(tensor.isfinite().all())]
    assert not wrong, f"{case}: not finite: {abbreviate(wrong)}"


def _with(data: Dataset, split: Split) -> Dataset:
    return replace(data, splits={**data.splits, "train": split})
