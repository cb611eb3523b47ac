"""A network that predicts: in eval mode, in its run's precision and memory layout."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.data.batches import ordered
from localrules.data.dataset import Split
from localrules.data.standard import Standard
from localrules.engine.ranks import Ranks
from localrules.engine.scores import Scores

TRAIN_ROWS = 5000  # of the training split are scored at the end of a run


@dataclass(frozen=True)
class Predictor:
    """What it takes to label pictures.

    Attributes:
        network, rule: On their device; the rule decides how the network is asked.
        ranks: Device and precision.
        standard: The training split's constants.
        channels_last: Whether maps are kept channels-last.
        batch_size: Pictures at a time.
    """

    network: Network
    rule: Rule
    ranks: Ranks
    standard: Standard
    channels_last: bool
    batch_size: int

    def arranged(self, images: Tensor) -> Tensor:
        """Pictures in the run's memory layout."""
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    def scores(self, split: Split, rows: Tensor | None = None) -> Scores:
        """Predict a split as it is, in order.

        Args:
            split: The pictures.
            rows: Only these rows.
        """
        logits, labels = [], []
        with self.evaluating():
            for batch in ordered(split, self.batch_size, self.standard, self.ranks.device, rows=rows):
                found = self.rule.predict(self.network, self.arranged(batch.images))
                logits.append(found.float().cpu())
                labels.append(batch.labels.cpu())
        return Scores(torch.cat(logits), torch.cat(labels))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Eval mode without gradients, in the run's precision; every module's mode is put back afterwards."""
        modules = [*self.network.model.modules(), *self.rule.modules()]
        modes = [module.training for module in modules]
        for module in modules:
            module.training = False
        try:
            with torch.no_grad(), self.ranks.forward_context():
                yield
        finally:
            for module, training in zip(modules, modes, strict=True):
                module.training = training


def fixed_rows(split: Split, count: int = TRAIN_ROWS) -> Tensor | None:
    """``count`` rows spread evenly over a split, always the same; all rows (``None``) if it has no more."""
    if len(split) <= count:
        return None
    return torch.arange(count) * len(split) // count
