"""One objective's part of a training step: its loss, with all that it may not do checked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from localrules.core.divided_batch import DividedBatch
from localrules.core.objective import InputTransform, Objective
from localrules.core.rule import StepReport
from localrules.core.view import LayerView
from localrules.engine.rule_values import check_losses, inplace_error, versions
from localrules.errors import LocalRulesError
from localrules.utils.plugin_border import code_error, state_error
from localrules.utils.torch_utils import at_least_float32


def objective_loss(
    objective: Objective,
    view: LayerView,
    batch: DividedBatch,
    autocast: Callable[[], AbstractContextManager[Any]],
    report: StepReport,
) -> Tensor:
    """The sum of an objective's losses on what its layer read and returned.

    Args:
        objective: The objective.
        view: Of its layer on this batch.
        batch: The batch, of which an objective that needs all of it reads the parts of the other processes.
        autocast: Makes the context of mixed precision, for objectives that compute in it; others get float32.
        report: Receives named losses and logged values.

    Raises:
        LocalRulesError: The objective raised an exception, changed its view in place, switched gradients off, or
            returned no loss.
    """
    if objective.info.autocast:
        context = autocast()
    else:
        context = torch.autocast(view.output.device.type, enabled=False)
        view = replace(view, inputs=tuple(map(at_least_float32, view.inputs)), output=at_least_float32(view.output))
    cls = type(objective)
    tensors = [*view.inputs, view.output, view.labels]
    before = versions(tensors)
    if together := cls.info.requires.global_batch or issubclass(cls, InputTransform):
        view = batch.view(view)
    with context, batch.own.part.undivided() if together else nullcontext():
        try:
            found = objective(view)
        except (KeyboardInterrupt, LocalRulesError):
            raise
        except BaseException as error:
            raise code_error(error, [cls], "forward") from error
    if not torch.is_grad_enabled():
        raise state_error(cls, "forward", ["turned gradients off"])
    if versions(tensors) != before:
        raise inplace_error(cls, "forward", "its layer's inputs, output or labels")
    check_losses(cls, found)
    name = objective.layer.name
    for key, value in objective.pop_logged().items():
        report.metrics[f"{key}/{name}"] = value
    if not isinstance(found, dict):
        return found
    for key, value in found.items():
        column = f"loss/{key}/{name}"  # summed over the layer's outputs
        report.metrics[column] = report.metrics.get(column, 0) + value.detach()
    return sum(found.values(), torch.zeros(()))
