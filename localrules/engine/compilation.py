"""Compilation of a run's layers and objectives, each on its own, by ``torch.compile``."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from localrules.config.schema import RunConfig
from localrules.core.network import Network
from localrules.core.rule import Rule
from localrules.engine.layerwise import LayerwiseRule
from localrules.errors import shorten, warn
from localrules.utils.torch_utils import active_function_modes

Forward = Callable[..., Any]


def compile_parts(config: RunConfig, network: Network, rule: Rule) -> list[CompiledForward]:
    """Have training steps run each layer's forward, and each objective, compiled.

    A part is compiled when a step first calls it. One that cannot be is named in a warning with the reason, and runs
    as it is; so do evaluation, and a rule's own ``step``.

    Args:
        config: Its ``compile`` says whether, its ``compile_backend`` by what.
        network: The network.
        rule: The rule, prepared.

    Returns:
        The parts; none if the rule or the settings do not allow it.
    """
    if not config.compile:
        return []
    classes = rule.objective_classes if isinstance(rule, LayerwiseRule) else [type(rule)]
    for cls in classes:
        if cls.info.not_compiled:
            warn(f"nothing is compiled: rule {config.rule.name!r} does not allow it, since {cls.info.not_compiled}")
            return []
    parts: dict[str, nn.Module] = {f"layer {layer.name!r}": layer.module for layer in network.layers}
    if isinstance(rule, LayerwiseRule):
        parts |= {f"objective {name!r}": objective for name, objective in rule.objectives.items()}
    warned: set[str] = set()
    made = [CompiledForward(name, module, config.compile_backend, warned) for name, module in parts.items()]
    for part in made:
        part.module.__dict__["forward"] = part
    return made


class CompiledForward:
    """Stands in for a module's ``forward``.

    Args:
        name: The module in warnings.
        module: The module.
        backend: The backend of ``torch.compile``.
        warned: Reasons that a warning has named already.

    Attributes:
        module: The module.
        reason: The reason for which it is not compiled; empty while it is.
    """

    def __init__(self, name: str, module: nn.Module, backend: str, warned: set[str]) -> None:
        self.module, self.reason = module, ""
        self._called = False
        self._name, self._warned, self._own = name, warned, module.forward
        # Random numbers are drawn as without compilation.
        options: Any = {"fallback_random": True} if backend == "inductor" else None
        self._compiled = torch.compile(_under_own_code(self._own), backend=backend, dynamic=False, options=options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.reason or not (self.module.training and torch.is_grad_enabled()):
            return self._own(*args, **kwargs)
        if modes := active_function_modes():
            return self._leave(f"{type(modes[-1]).__name__} watches its operations", args, kwargs)
        from torch._dynamo.exc import TorchDynamoException

        try:
            if self._called:
                return self._compiled(*args, **kwargs)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the compiler looks at gradients, and torch warns of it
                result = self._compiled(*args, **kwargs)
            self._called = True
            return result
        except TorchDynamoException as error:
            return self._leave(str(error).strip().partition("\n")[0], args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """A copy of the module has its own ``forward``, which is not compiled."""
        return types.MethodType(type(self.module).forward, memo[id(self.module)])

    def _leave(self, reason: str, args: Any, kwargs: Any) -> Any:
        self.reason = reason
        if reason not in self._warned:
            self._warned.add(reason)
            warn(f"{self._name} is not compiled, and runs as it is: {shorten(reason, 200)}")
        return self._own(*args, **kwargs)


def _under_own_code(own: Forward) -> Forward:
    """The function with a code object of its own: torch counts recompilations by it, and a class has only one."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        return own(*args, **kwargs)

    return types.FunctionType(
        forward.__code__.replace(), forward.__globals__, forward.__name__, None, forward.__closure__
    )
