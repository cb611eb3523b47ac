"""Checks that a run can be repeated, broken off and shuffled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from torch import Tensor

from localrules.core.view import BatchStatistics
from localrules.data.batches import Batch, Batches
from localrules.engine import checkpoint
from localrules.engine.session import Session
from localrules.testing.subject import Subject, Unfit, few
from localrules.testing.traces import differ, take_steps, train_generic

BREAK = 3  # steps before the interruption, of 6
CLOSE = 1e-3  # relative: sums over a batch in another order differ by rounding, also where a unit is at its kink


def the_same_seed_gives_the_same_bits(subject: Subject) -> None:
    """Two runs of one seed end with the same bits."""
    ends = []
    for _ in range(2):
        session = subject.session(subject.networks[-1])
        take_steps(session)
        ends.append(state(session))
    wrong = _differing(*ends)
    assert not wrong, f"two runs of one seed differ: {few(wrong)}"


def resuming_equals_no_interruption(subject: Subject) -> None:
    """A run that is broken off, saved and resumed ends with the bits of one that was not."""
    unbroken, first, second = (subject.session(subject.networks[-1]) for _ in range(3))
    take_steps(unbroken)
    take_steps(first, BREAK)
    with TemporaryDirectory() as folder:
        checkpoint.save(Path(folder), first, {"step": BREAK})
        checkpoint.restore(Path(folder), second)
    take_steps(second, start=BREAK)
    wrong = _differing(state(unbroken), state(second))
    assert not wrong, f"after a resume these differ: {few(wrong)}"


def the_order_of_a_batch_does_not_matter(subject: Subject) -> None:
    """Shuffling a batch permutes nothing but the batch: objectives and updates stay, up to rounding."""
    network = subject.networks[0]
    found = []
    for shuffled in (False, True):
        session = subject.session(network)
        if shuffled:
            session.batches = cast(Batches, _Shuffled(session.batches))
        reports = _watch(session)
        traces = train_generic(session, 1, seed=0)
        found.append((traces, reports))
    (ones, (one,)), (others, (other,)) = found
    if one["drew"] or other["drew"]:
        raise Unfit("it draws random numbers in a step, which fall to other rows")
    layers = [layer.name for layer in session.network.layers]
    for layer, plain, mixed in zip(layers, ones, others, strict=True):
        gap, size = _gap(plain.gradients, mixed.gradients)
        assert gap <= CLOSE * size + 1e-6, f"the gradient of {layer}, of norm {size:.3g}, moves by {gap:.3g}"
    for layer, value in one["objectives"].items():
        gap, size = _gap([value], [other["objectives"][layer]])
        assert gap <= CLOSE * size + 1e-5, f"the objective of {layer}, {float(value):.5g}, moves by {gap:.3g}"


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


def _watch(session: Session) -> list[dict[str, Any]]:
    """A list that fills, at each step, with its objectives and whether it drew random numbers."""
    seen: list[dict[str, Any]] = []
    step = session.rule.step

    def watch(network: Any, batch: BatchStatistics, context: Any) -> Any:
        before = torch.get_rng_state()
        report = step(network, batch, context)
        seen.append({"objectives": report.objectives, "drew": not torch.equal(before, torch.get_rng_state())})
        return report

    session.rule.step = watch  # type: ignore[method-assign]
    return seen


def _gap(ones: list[Tensor | None], others: list[Tensor | None]) -> tuple[float, float]:
    """How far two lists of tensors are apart, and how large the first is."""
    one, other = (
        torch.cat([tensor.detach().double().flatten() for tensor in found if tensor is not None] or [torch.zeros(1)])
        for found in (ones, others)
    )
    assert one.shape == other.shape, "other parameters have gradients"
    return float((one - other).norm()), float(one.norm())


class _Shuffled:
    """The same batches, each in another order."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def batch(self, step: int) -> Batch:
        batch = self._batches.batch(step)
        order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(1))
        return replace(batch, images=batch.images[order], labels=batch.labels[order], indices=batch.indices[order])
