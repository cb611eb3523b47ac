"""Other labels for the same images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, cast, get_args

import torch

if TYPE_CHECKING:
    from localrules.data.batches import Batches, DataBatch
    from localrules.engine.session import Session

Relabelling = Literal["permuted", "redrawn"]
"""``permuted``: the labels of a batch dealt out anew among its images. ``redrawn``: each label replaced by another one,
so that a batch has other counts, too; of two classes that renames them, which a kernel on labels does not see."""

RELABELLINGS: tuple[Relabelling, ...] = get_args(Relabelling)


def relabel(session: Session, how: Relabelling) -> None:
    """Let a session train on other labels from now on."""
    session.batches = cast("Batches", _Relabelled(session.batches, how, len(session.data.classes)))


class _Relabelled:
    """The batches of a run with other labels."""

    def __init__(self, batches: Batches, how: Relabelling, classes: int) -> None:
        self._batches, self._how, self._classes = batches, how, classes

    def batch(self, step: int) -> DataBatch:
        batch = self._batches.batch(step)
        labels, soft, draws = batch.labels, batch.soft_targets, torch.Generator().manual_seed(1)
        if self._how == "permuted":
            order = torch.randperm(len(labels), generator=draws).to(labels.device)
            return replace(batch, labels=labels[order], soft_targets=None if soft is None else soft[order])
        moves = torch.randint(1, self._classes, labels.shape, generator=draws).to(labels.device)
        if soft is not None:
            classes = torch.arange(self._classes, device=labels.device)
            soft = soft.gather(1, (classes - moves[:, None]) % self._classes)
        return replace(batch, labels=(labels + moves) % self._classes, soft_targets=soft)
