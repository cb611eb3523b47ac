"""The candidates that are timed: rules under the engine, and a plain training loop written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.nn import functional

from localrules.data.augment import Augment
from localrules.data.batches import Batches
from localrules.data.dataset import Dataset, Split
from localrules.data.preprocess import Preprocessor
from localrules.engine.device import autocast_dtype
from localrules.engine.optimizers import build_optimizer, matrix_parameter_ids
from localrules.engine.phases import apply_phase
from localrules.engine.resolved_run import ResolvedRun
from localrules.engine.session import Session
from localrules.engine.step import train_step

HAND_WRITTEN = "by hand"


@dataclass(frozen=True)
class Candidate:
    """Something that takes training steps.

    Attributes:
        name: For the table.
        step: Takes step number ``n``.
        device: Where.
    """

    name: str
    step: Callable[[int], Any]
    device: torch.device


def noise_dataset(shape: tuple[int, ...], num_classes: int, samples: int) -> Dataset:
    """Random images: what a step costs does not depend on what they show."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (samples, *shape), dtype=torch.uint8, generator=draws)
    labels = torch.randint(0, num_classes, (samples,), generator=draws)
    classes = tuple(str(index) for index in range(num_classes))
    return Dataset("noise", classes, {"train": Split(images, labels)}, "random", "", True)


def engine_step(name: str, run: ResolvedRun, data: Dataset) -> Candidate:
    """A rule's step as ``run`` takes it, from asking for the batch to the last optimizer step."""
    session, config = Session.build(run, data), run.config
    phase = session.phases[0]
    apply_phase(phase, session.network, session.trainable)

    def step(number: int) -> None:
        torch.set_num_threads(config.threads)  # another candidate's may differ
        train_step(session, phase, number)

    return Candidate(name, step, session.device.device)


def plain_pytorch_step(
    run: ResolvedRun,
    data: Dataset,
    name: str = HAND_WRITTEN,
    change: Callable[[nn.Module], nn.Module] = lambda model: model,
) -> Candidate:
    """Back-propagation as anyone would write it in PyTorch: the floor under which no engine can be.

    It shares the model, the batches, the memory layout, the precision, the threads and the optimizer with the engine's
    ``backprop``, and has none of its layers, contexts or reports. ``change`` gives another model for the engine's, e.g.
    one of somebody else's layers.
    """
    session, config = Session.build(run, data), run.config  # for the model and its initial weights alone
    model, device = change(session.network.model).train(), session.device.device
    matrices = matrix_parameter_ids(session.network, session.rule)
    optimizer = build_optimizer([*model.parameters()], config.optimizer, matrices)
    train = data.split("train")
    preprocess = Preprocessor.from_split(
        train, normalize=config.normalize, channels_last=config.channels_last, device=device
    )
    batches = Batches(train, config.batch_size, config.seed, preprocess, augment=Augment(config.augment))
    dtype, scaler = autocast_dtype(config.precision), GradScaler(device.type, enabled=config.precision == "fp16")

    def step(number: int) -> None:
        torch.set_num_threads(config.threads)
        batch = batches.batch(number)
        with torch.autocast(device.type, dtype, enabled=dtype is not None, cache_enabled=False):
            loss = functional.cross_entropy(model(batch.images).float(), batch.labels)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad(set_to_none=True)

    return Candidate(name, step, device)
