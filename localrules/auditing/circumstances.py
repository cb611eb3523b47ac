"""Circumstances under which the audit of a rule looks once more: a rule may keep to its class in some of them only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from localrules.auditing.forks import in_fork_if_possible
from localrules.engine.session import Session
from localrules.engine.step import train_steps
from localrules.errors import LocalRulesError, describe_exception

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

    def settings(self, least_batch: int = 1) -> dict[str, Any]:
        """Settings of the run: what a configuration file holds.

        Args:
            least_batch: The smallest batch on which the rule is defined.
        """
        return {
            "batch_size": max(self.batch, least_batch),
            "steps": self.steps,
            "precision": self.precision,
            "device": "cpu",
            "schedule": {"name": "constant"},
            **({"targets": {"mixup": self.mixup}} if self.mixup else {}),
        }


def other_circumstances(*, steps: int = LONG, soft_targets: bool = False) -> list[Circumstances]:
    """Circumstances for the audit of a rule, beside a few steps on a few images.

    Args:
        steps: Of the longest training.
        soft_targets: Whether the rule learns from soft targets.
    """
    found = [
        Circumstances(batch=24, classes=11, side=48, precision="bf16", steps=4),
        Circumstances(batch=1, classes=11),
        Circumstances(steps=steps),
    ]
    return [*found, Circumstances(mixup=0.4)] if soft_targets else found


def why_it_cannot_train(build: Callable[[], Session]) -> str:
    """The reason why a session cannot take a step, such as one sample in a batch norm; empty if it can."""
    try:
        in_fork_if_possible(lambda: train_steps(build(), 1))
    except LocalRulesError as error:
        return error.why or error.what
    except RuntimeError as error:
        return describe_exception(error)
    return ""
