"""Checks of the values that code of a rule returns, and of the tensors that it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from localrules.errors import PluginCodeError
from localrules.utils.plugin_border import definition, name_of, wrong_result


def inplace_error(owner: Any, method: str, what: str) -> PluginCodeError:
    """The error for code that writes to a tensor that others read."""
    return PluginCodeError(
        f"{name_of(owner)} changed {what} in place",
        where=definition(owner, method),
        why="other layers, and the metrics of the step, read the same tensor",
        fix="compute a new tensor (x = x * 2 instead of x *= 2), or clone it first",
    )


def versions(tensors: Sequence[Tensor]) -> list[int]:
    """The number of in-place writes to each tensor."""
    return [version(tensor) for tensor in tensors]


def version(tensor: Tensor) -> int:
    """The number of in-place writes to a tensor."""
    return 0 if tensor.is_inference() else tensor._version


def scalar_problem(value: Any) -> str:
    """A description of a value that is not a scalar tensor of real numbers; empty if it is one."""
    if not isinstance(value, Tensor):
        return "None" if value is None else f"an object of type {type(value).__name__}"
    if value.numel() != 1:
        return f"a tensor of shape {tuple(value.shape)}"
    return "a complex number" if value.is_complex() else ""


def check_losses(cls: type, found: Any) -> None:
    """Raises PluginCodeError if an objective returned something else than a scalar, or scalars by name."""
    named = found if isinstance(found, dict) and found else {"": found}
    for key, value in named.items():
        if problem := scalar_problem(value):
            problem += f" as {key!r}" if key else ""
            raise wrong_result(cls, "forward", "a scalar tensor, or a dict of scalar tensors", problem)


def backward_called(cls: type) -> PluginCodeError:
    """The error for an objective whose loss has no graph left for the engine's backward pass."""
    return PluginCodeError(
        f"{name_of(cls)} has a loss whose graph was used before",
        where=definition(cls, "forward"),
        why="it called backward itself, or kept a tensor of another layer or step; the engine runs the backward pass "
        "of what forward returns, and would do so a second time",
        fix="return the loss without calling backward, and detach what is kept; to write gradients yourself, derive "
        "from localrules.Rule",
    )
