"""Checks that a run can be repeated, broken off and shuffled."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor

from localrules.auditing.traces import differ, train_from_perturbed
from localrules.core.objective import Objective
from localrules.core.view import Batch
from localrules.data.batches import Batches, DataBatch
from localrules.engine import checkpoint
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.testing.conformance.permuted_rng import PermuteRng
from localrules.testing.conformance.subject import NotApplicable, Place, RuleUnderTest, abbreviate, toy_images

AT_ONCE = 3  # layers
BREAK = 3  # steps before the interruption, of 6
ODD = 17  # images of the batch that is shuffled: prime, so no dimension of a network is taken for the batch
CLOSE = 5e-3  # relative: sums over a batch in another order differ by rounding, and a resolvent's inverse adds to that


def the_same_seed_gives_the_same_bits(subject: RuleUnderTest) -> None:
    """Two runs of one seed end with the same bits."""
    for place in subject.distinct_places:
        session = subject.session(place)
        train_steps(session)
        wrong = _differing(_unbroken(subject, place).end, state(session))
        assert not wrong, f"on {place}, two runs of one seed differ: {abbreviate(wrong)}"


def resuming_equals_no_interruption(subject: RuleUnderTest) -> None:
    """A run that is interrupted, saved and resumed ends with the same bits as an uninterrupted one."""
    for place in subject.distinct_places:
        unbroken, resumed = _unbroken(subject, place), subject.session(place)
        with TemporaryDirectory() as folder:
            (Path(folder) / checkpoint.STATE).write_bytes(unbroken.checkpoint)
            checkpoint.restore(Path(folder), resumed)
        train_steps(resumed, start=BREAK)
        wrong = _differing(unbroken.end, state(resumed))
        assert not wrong, f"on {place}, these differ after a resume: {abbreviate(wrong)}"


def layers_can_train_in_parallel(subject: RuleUnderTest) -> None:
    """Objectives write to nothing that they share: ``parallel_layers`` changes no bit."""
    if not issubclass(subject.rule, Objective):
        raise NotApplicable("it is not a layer's objective")
    if subject.rule.info.window > 1:
        raise NotApplicable("a layer reads others of its window, so layers learn one after the other")
    for place in subject.distinct_places:
        together = subject.session(place, parallel_layers=AT_ONCE)
        train_steps(together)
        wrong = _differing(_unbroken(subject, place).end, state(together))
        assert not wrong, f"on {place}, {AT_ONCE} layers at once, these differ: {abbreviate(wrong)}"


def batch_order_does_not_matter(subject: RuleUnderTest) -> None:
    """Shuffling a batch and the random draws for its images changes objectives and updates by rounding only."""
    for place in subject.distinct_places:
        _order_does_not_matter(subject, place)


@dataclass(frozen=True)
class _Unbroken:
    """A run of 6 steps: its state at the end, and the checkpoint that it wrote on its way."""

    end: dict[str, Tensor]
    checkpoint: bytes


@lru_cache(maxsize=8)
def _unbroken(subject: RuleUnderTest, place: Place) -> _Unbroken:
    """The run that several checks compare theirs with."""
    session = subject.session(place)
    train_steps(session, BREAK)
    with TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), session, {"step": BREAK})
        saved = (Path(folder) / checkpoint.STATE).read_bytes()
    train_steps(session, start=BREAK)
    return _Unbroken(state(session), saved)


def _order_does_not_matter(subject: RuleUnderTest, place: Place) -> None:
    size = _next_prime(max(ODD, subject.batch_size))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(1))
    plain, shuffled = (subject.session(place, data=toy_images(2 * size), batch_size=size) for _ in range(2))
    shuffled.batches = cast(Batches, _Shuffled(shuffled.batches, order))
    one, other = _watch(plain, nullcontext()), _watch(shuffled, PermuteRng(order))
    traces, others = (train_from_perturbed(session, 1, seed=0) for session in (plain, shuffled))
    for layer, trace, mixed in zip(plain.network.layers, traces, others, strict=True):
        for what, found, again in (("gradient", trace.gradients, mixed.gradients), ("state", trace.state, mixed.state)):
            gap, norm = distance_and_norm(found, again)
            told = f"on {place}: the {what} of {layer.name}, of norm {norm:.3g}, moves by {gap:.3g}"
            assert gap <= CLOSE * norm + 1e-6, told
    for name, value in one[0].items():
        gap, norm = distance_and_norm([value], [other[0][name]])
        told = f"on {place}: the objective of {name}, {float(value):.5g}, moves by {gap:.3g}"
        assert gap <= CLOSE * norm + 1e-5, told


def state(session: Session) -> dict[str, Tensor]:
    """Every tensor of network, rule and optimizers."""
    found = {f"network {name}": tensor for name, tensor in session.network.model.state_dict().items()}
    found |= {f"rule {name}": tensor for name, tensor in session.rule.state_dict().items()}
    for layer, optimizer in session.optimizers.state_dict().items():
        for index, values in optimizer["state"].items():
            tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
            found |= {f"optimizer of {layer} {index} {name}": value for name, value in tensors.items()}
    return found


def _differing(ones: dict[str, Tensor], others: dict[str, Tensor]) -> list[str]:
    absent = ones.keys() ^ others.keys()
    return [*sorted(absent), *(name for name in ones.keys() & others.keys() if differ([ones[name]], [others[name]]))]


def _watch(session: Session, during: AbstractContextManager[Any]) -> list[dict[str, Tensor]]:
    """A list that fills with the objectives of each step; ``during`` is entered around the step."""
    seen: list[dict[str, Tensor]] = []
    step = session.rule.step

    def watch(network: Any, batch: Batch, context: Any) -> Any:
        with during:
            report = step(network, batch, context)
        seen.append(report.objectives)
        return report

    session.rule.step = watch  # type: ignore[method-assign]
    return seen


def distance_and_norm(ones: list[Tensor | None], others: list[Tensor | None]) -> tuple[float, float]:
    """The distance of two lists of tensors, and the size of the first."""
    one, other = (
        torch.cat([tensor.detach().double().flatten() for tensor in found if tensor is not None] or [torch.zeros(1)])
        for found in (ones, others)
    )
    assert one.shape == other.shape, "other parameters have gradients"
    return float((one - other).norm()), float(one.norm())


def _next_prime(number: int) -> int:
    while any(number % factor == 0 for factor in range(2, number)):
        number += 1
    return number


class _Shuffled:
    """The same batches, each in another order."""

    def __init__(self, batches: Batches, order: Tensor) -> None:
        self._batches, self._order = batches, order

    def batch(self, step: int) -> DataBatch:
        batch, order = self._batches.batch(step), self._order
        return replace(batch, images=batch.images[order], labels=batch.labels[order], indices=batch.indices[order])
