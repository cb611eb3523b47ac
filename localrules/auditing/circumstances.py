"""Circumstances under which the audit of a rule looks once more: a rule may keep to its class in some of them only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from localrules.auditing.branches import sample_prediction
from localrules.auditing.forks import in_fork_if_possible
from localrules.auditing.traces import add_noise
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.errors import LocalRulesError

STEPS = 3  # what a rule keeps from one step shows in the next ones
LONG = 16  # steps in which a message may arrive late


@dataclass(frozen=True)
class Circumstances:
    """Batches, images and settings of a few steps of training.

    Attributes:
        batch: Samples in a batch.
        classes: Classes of the images.
        side: Of the images, in pixels; ``None`` for the smallest that the network takes.
        precision: As of a run.
        steps: Steps of each training.
        mixup: As of ``targets.mixup``, for soft targets.
    """

    batch: int = 8
    classes: int = 4
    side: int | None = None
    precision: str = "fp32"
    steps: int = STEPS
    mixup: float = 0.0

    def __str__(self) -> str:
        mixed = ", mixed targets" if self.mixup else ""
        return f"in batches of {self.batch}, {self.classes} classes, {self.precision}, {self.steps} steps{mixed}"

    def settings(self) -> dict[str, Any]:
        """Settings of the run: what a configuration file holds."""
        return {
            "batch_size": self.batch,
            "steps": self.steps,
            "precision": self.precision,
            "device": "cpu",
            "schedule": {"name": "constant"},
            **({"targets": {"mixup": self.mixup}} if self.mixup else {}),
        }


def other_circumstances(*, least_batch: int = 1, steps: int = LONG, soft_targets: bool = False) -> list[Circumstances]:
    """Circumstances for the audit of a rule, beside a few steps on a few images.

    Args:
        least_batch: The smallest batch on which the rule is defined.
        steps: Of the training in which a message may arrive late.
        soft_targets: Whether the rule learns from soft targets.
    """
    found = [
        Circumstances(batch=24, classes=11, side=48, precision="bf16", steps=4),
        Circumstances(batch=1, classes=11),
        Circumstances(steps=steps),
    ]
    if soft_targets:
        found.append(Circumstances(mixup=0.4))
    return [replace(each, batch=max(each.batch, least_batch)) for each in found]


def why_it_cannot_train(build: Callable[[], Session]) -> str:
    """The reason why a session cannot take its steps, such as one sample in a batch norm; empty if it can."""

    def train() -> None:
        session = build()
        add_noise([*session.network.parameters(), *session.rule.parameters()], seed=0)
        train_steps(session, session.total_steps, between=sample_prediction(session))

    try:
        in_fork_if_possible(train)
    except LocalRulesError as error:
        return f"{error.what}: {error.why}"
    return ""
