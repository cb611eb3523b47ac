"""The conformance kit's digits with options: of the rule, of the network, of the run."""

from __future__ import annotations

from typing import Any

from localrules import Objective, Rule
from localrules.config.overrides import merge
from localrules.engine.phases import apply_phase
from localrules.engine.session import Session
from localrules.engine.step import train_step
from localrules.testing.conformance.digits import digits
from localrules.testing.conformance.sessions import build_session
from localrules_classics.mlp import MLP


def digits_session(
    rule_class: type[Objective | Rule],
    *,
    rule_options: dict[str, Any] | None = None,
    hidden: tuple[int, ...] = (128, 128),
    epochs: float = 8,
    **settings: Any,
) -> Session:
    """A run on the digits before its first step, with the rule's own defaults for run and model.

    Args:
        rule_class: The rule.
        rule_options: Its options.
        hidden: The mlp's layers.
        epochs: Of 20 steps.
        settings: Of the run. By default batches of 64, the images as they are, and the schedule of every run.
    """
    ours = {"batch_size": 64, "augment": {"shift": 0}, "schedule": {"name": "one-cycle"}}
    return build_session(
        rule_class,
        MLP,
        digits(),
        rule_options=rule_options,
        model_options={"hidden": hidden},
        **merge(merge(ours, rule_class.info.run_defaults), {"steps": None, "epochs": epochs, **settings}),
    )


def learn_digits(
    rule_class: type[Objective | Rule],
    *,
    rule_options: dict[str, Any] | None = None,
    hidden: tuple[int, ...] = (128, 128),
    epochs: float = 8,
    **settings: Any,
) -> float:
    """Accuracy on the digits' test split after training on the others; the arguments of :func:`digits_session`."""
    session = digits_session(rule_class, rule_options=rule_options, hidden=hidden, epochs=epochs, **settings)
    for phase in session.phases:
        apply_phase(phase, session.network, session.trainable)
        for step in range(phase.start, phase.stop):
            train_step(session, phase, step)
    return session.predictor.scores(session.data.split("test")).top1
