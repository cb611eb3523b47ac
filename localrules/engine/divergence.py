"""A run that has left the finite numbers is noticed before it spoils a checkpoint."""

from __future__ import annotations

from torch import Tensor

from localrules.core.layer import Layer
from localrules.core.rule import StepReport
from localrules.engine.session import Session
from localrules.errors import LocalRulesError

MAX_NAMED = 4  # layers that the error names; the rest are counted


class Diverged(LocalRulesError):
    """Training has left the finite numbers; nothing else is wrong."""


def check_finite(session: Session, report: StepReport, step: int) -> Diverged | None:
    """The error to stop with if an objective, the loss or a weight is infinite or no number, else ``None``.

    Args:
        session: The run.
        report: What the rule reported of the step.
        step: Steps done so far, this one included.
    """
    objectives = [name for name, value in report.objectives.items() if not _all_finite(value)]
    weights = [layer.name for layer in session.network.layers if not _finite_weights(session, layer)]
    found = {
        "objectives": bool(objectives),
        "the loss": report.loss is not None and not _all_finite(report.loss),
        "weights": bool(weights),
    }
    if not any(found.values()):
        return None
    slower = f"choose a lower --lr (it is {session.config.optimizer.lr:g})"
    finer = ", or --precision fp32" if session.config.precision != "fp32" else ""
    return Diverged(
        f"training diverged at step {step}",
        where=_format_names([layer.name for layer in session.network.layers if layer.name in {*objectives, *weights}]),
        why=f"{', '.join(word for word in found if found[word])} became infinite or no number; "
        "no checkpoint was made of it",
        fix=f"{slower}{finer}, and start again",
    )


def _finite_weights(session: Session, layer: Layer) -> bool:
    return all(_all_finite(parameter) for parameter in (*layer.parameters(), *session.rule.parameters_for(layer)))


def _all_finite(values: Tensor) -> bool:
    return bool(values.detach().isfinite().all())


def _format_names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
