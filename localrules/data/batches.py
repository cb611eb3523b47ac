"""Batches for training and for evaluation, from images held as uint8 on the device or mapped from the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from localrules.data.batch_part import WHOLE, BatchPart
from localrules.data.preprocess import Preprocessor
from localrules.errors import UsageError
from localrules.utils.torch_utils import upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from localrules.data.augment import Augment
    from localrules.data.dataset import Split
    from localrules.data.targets import Targets


@dataclass(frozen=True)
class DataBatch:
    """Some images with their labels.

    Attributes:
        images: float32, preprocessed, shape (batch, channels, height, width).
        labels: int64, shape (batch,).
        indices: int64, shape (batch,): the samples' indices in their split.
        soft_targets: float32, shape (batch, classes), where labels are smoothed, mixed or weighted.
    """

    images: Tensor
    labels: Tensor
    indices: Tensor
    soft_targets: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """The soft targets where there are any, else the labels."""
        return self.labels if self.soft_targets is None else self.soft_targets

    def __len__(self) -> int:
        return self.labels.shape[0]


class Batches:
    """The endless sequence of training batches.

    Batch number ``step`` depends on the split, the seed and the step alone: each epoch is a permutation of the samples
    drawn from (seed, epoch), and each step's augmentation is drawn from (seed, step). So a run that resumes sees the
    batches it would have seen, and nothing has to be saved. An epoch's last, incomplete batch is left out; the
    next epoch's permutation brings others to that place.

    Args:
        split: The training images.
        batch_size: Samples in each batch.
        seed: The run's seed.
        preprocess: Normalisation, memory format, and the device on which images are held, unless they take more than
            half of its free memory; ``None`` normalises by the constants of ``split``, on the CPU.
        augment: Augmentation, applied between normalisation and memory format (RandAugment before them); ``None`` for
            none.
        targets: Mixes images and makes soft targets; ``None`` for the labels.
        part: Which part of every batch is wanted; draws do not depend on it.

    Raises:
        UsageError: The split has fewer samples than one batch.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        seed: int,
        preprocess: Preprocessor | None = None,
        *,
        augment: Augment | None = None,
        targets: Targets | None = None,
        part: BatchPart = WHOLE,
    ) -> None:
        if len(split) < batch_size or batch_size < 1:
            raise UsageError(
                "the training split does not fill one batch",
                where=f"batch size {batch_size}",
                why=f"the split has {len(split)} samples, and a batch needs {batch_size}; at least 1",
                fix=f"choose a --batch-size between 1 and {len(split)}, or a larger data set",
            )
        channels = split.images.shape[1]
        if augment is not None and augment.config.rand_augment and channels not in (1, 3):
            raise UsageError(
                "RandAugment needs grey or RGB images",
                where="augment.rand_augment",
                why=f"these have {channels} channels, and its operations are on colours",
                fix="leave it out",
            )
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.targets = targets if targets is not None and targets.config.kind != "labels" else None
        self._part = part
        # The whole batch is made where one image depends on another, or on the draws of another.
        self._mixes = self.targets is not None or (augment is not None and augment.config.rand_augment > 0)
        self.preprocess = preprocess or Preprocessor.from_split(split)
        device = torch.device(self.preprocess.device)
        self._images = split.images.to(device) if fits_on(split.images.nbytes, device) else split.images
        self._labels = split.labels.to(device)
        self._drawn: tuple[int, Tensor] | None = None  # the current epoch and its order, to draw it once

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass over the split."""
        return len(self._labels) // self.batch_size

    def batch(self, step: int) -> DataBatch:
        """The batch of a step, counted from 0 over the whole run."""
        epoch, place = divmod(step, self.steps_per_epoch)
        start = place * self.batch_size
        drawn, rest = (WHOLE, self._part) if self._mixes else (self._part, WHOLE)
        indices = drawn.take(self._epoch_order(epoch)[start : start + self.batch_size])
        images = upload(self._images.index_select(0, indices.to(self._images.device)), self.preprocess.device)
        if self.augment is not None and self.augment.config.rand_augment:
            images = self.augment.rand_augment(images, generator(self.seed, RAND_AUGMENT, step))
        images = self.preprocess.normalize(images)
        if self.augment is not None:
            black = self.preprocess.normalize.black
            images = self.augment(images, generator(self.seed, AUGMENT, step), black=black, part=drawn)
        labels, targets = self._labels.index_select(0, indices), None
        if self.targets is not None:
            images, labels, targets = self.targets(images, labels, generator(self.seed, MIXUP, step))
            targets = rest.take(targets)
        images = self.preprocess.to_memory_format(rest.take(images))
        return DataBatch(images, rest.take(labels), rest.take(indices), targets)

    def _epoch_order(self, epoch: int) -> Tensor:
        if self._drawn is None or self._drawn[0] != epoch:
            order = torch.randperm(len(self._labels), generator=generator(self.seed, ORDER, epoch))
            self._drawn = (epoch, upload(order, self._labels.device))
        return self._drawn[1]


def fits_on(size: int, device: torch.device) -> bool:
    """Whether all images of a split may be held on a device: they leave a GPU half of its free memory.

    Args:
        size: Of the images, in bytes.
        device: A GPU or the CPU, for which images never move: they are in memory, or mapped into it.
    """
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return 2 * size <= free


def iter_batches(
    split: Split,
    batch_size: int,
    preprocess: Preprocessor,
    *,
    indices: Tensor | None = None,
) -> Iterator[DataBatch]:
    """Every image once, in order and as it is, for evaluation; the last batch may be smaller.

    Args:
        split: The images.
        batch_size: Samples in each batch, 1 or more.
        preprocess: As in training; batches are on its device.
        indices: int64, shape (n,): the samples to take, in this order; all if it is not given.
    """
    chosen = torch.arange(len(split)) if indices is None else indices.cpu()
    for indices in chosen.split(batch_size):
        here = indices.to(split.images.device)
        images = preprocess(split.images.index_select(0, here))
        labels = split.labels.index_select(0, here).to(preprocess.device)
        yield DataBatch(images, labels, indices.to(preprocess.device))


ORDER = 0  # the samples of an epoch
AUGMENT = 1  # the draws of a step
MIXUP = 3  # 2 is what the network and the rule draw
RAND_AUGMENT = 4


def generator(seed: int, stream: int, number: int) -> torch.Generator:
    """A CPU generator for draw ``number`` of ``stream``: the same on every device, process and resumed run.

    Args:
        seed: The run's seed, 0 or more.
        stream: What is drawn, so that two uses of one seed are independent.
        number: Which epoch or step.
    """
    # torch seeds its Mersenne twister with 32 bits; numpy's SeedSequence mixes the three numbers into them.
    mixed = np.random.SeedSequence((seed, stream, number)).generate_state(1, np.uint32)[0]
    return torch.Generator().manual_seed(int(mixed))
