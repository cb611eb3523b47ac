"""A run that has left the finite numbers is noticed before it spoils a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from localrules.core.rule import StepReport
from localrules.engine.session import Session
from localrules.errors import LocalRulesError
from localrules.utils.torch_utils import read_scalars

MAX_NAMED = 4  # layers that the error names; the rest are counted


class Diverged(LocalRulesError):
    """Training has left the finite numbers; nothing else is wrong."""


def check_finite(session: Session, report: StepReport, step: int, *, thorough: bool = False) -> Diverged | None:
    """The error to stop with if an objective, the loss, a weight or a buffer is infinite or no number, else ``None``.

    Args:
        session: The run.
        report: What the rule reported of the step.
        step: Steps done so far, this one included.
        thorough: Also look at the optimizers' state, as before a checkpoint.
    """
    finite = {f"objective {name}": _all_finite([value]) for name, value in report.objectives.items()}
    for layer in session.network.layers:
        kept = [*layer.parameters(), *session.rule.parameters_for(layer), *layer.module.buffers()]
        kept += session.rule.buffers_for(layer)
        if thorough:
            kept += session.optimizers.state_tensors(layer.name)
        finite[f"weights {layer.name}"] = _all_finite(kept)
    if report.loss is not None:
        finite["loss"] = _all_finite([report.loss])
    bad = {name for name, value in read_scalars(finite).items() if not value}
    objectives = [name for name in report.objectives if f"objective {name}" in bad]
    weights = [layer.name for layer in session.network.layers if f"weights {layer.name}" in bad]
    found = {"objectives": bool(objectives), "the loss": "loss" in bad, "weights or buffers": bool(weights)}
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


def _all_finite(tensors: Sequence[Tensor]) -> Tensor:
    """A scalar on the tensors' device, so that nothing is read from it one by one."""
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    if not floats:
        return torch.tensor(True)
    return torch.stack([tensor.detach().isfinite().all() for tensor in floats]).all()


def _format_names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
