"""A check of an optimizer's saved state before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from localrules.errors import LocalRulesError


def check_state(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """Refuse state that does not fit the parameters: a fused optimizer would read beyond it.

    Args:
        optimizer: Into which it is to be loaded.
        state: What ``state_dict`` gave.

    Raises:
        LocalRulesError: Another number of parameters, or a tensor of another shape or type than its parameter.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = [index for group in state["param_groups"] for index in group["params"]]
    if len(saved) != len(parameters):
        raise _error(f"it is of {len(saved)} parameters, and there are {len(parameters)}")
    for index, parameter in zip(saved, parameters, strict=True):
        for key, value in state["state"].get(index, {}).items():
            if not isinstance(value, Tensor) or value.dim() == 0:
                continue
            if value.shape != parameter.shape or value.is_floating_point() != parameter.is_floating_point():
                found, expected = tuple(value.shape), tuple(parameter.shape)
                raise _error(f"{key} is {value.dtype} of shape {found}, its parameter {parameter.dtype} of {expected}")


def _error(why: str) -> LocalRulesError:
    return LocalRulesError(
        "the optimizer's state does not fit the parameters",
        why=why,
        fix="resume with the checkpoint that belongs to this network and optimizer",
    )
