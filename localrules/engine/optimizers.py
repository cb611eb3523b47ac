"""One optimizer for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from localrules.engine.config import OptimizerConfig
from localrules.errors import LocalRulesError


class LayerOptimizers:
    """Steps layers one by one; each parameter sits in exactly one optimizer.

    Args:
        owned: Every layer's parameters by layer name: its module's, then those of its auxiliary modules.
        config: The optimizer's settings, the same for all layers.
    """

    def __init__(self, owned: Mapping[str, Iterable[nn.Parameter]], config: OptimizerConfig) -> None:
        self.config = config
        self.by_layer: dict[str, Optimizer] = {}
        self._parameters: dict[str, list[nn.Parameter]] = {}
        owner: dict[int, str] = {}
        for name, parameters in owned.items():
            own = [parameter for parameter in parameters if parameter.requires_grad]
            for parameter in own:
                if id(parameter) in owner:
                    raise LocalRulesError(
                        f"layers {owner[id(parameter)]!r} and {name!r} share a parameter",
                        why="each parameter must sit in exactly one optimizer",
                        fix="give each layer modules of its own",
                    )
                owner[id(parameter)] = name
            self._parameters[name] = own
            if own:
                self.by_layer[name] = _build(own, config)

    @property
    def learning_rate(self) -> float:
        """The present learning rate, the same in all layers."""
        return float(next(iter(self.by_layer.values())).param_groups[0]["lr"])

    def set_learning_rate(self, rate: float) -> None:
        """Use this learning rate from now on, in all layers."""
        for optimizer in self.by_layer.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def step(self, name: str) -> None:
        """Clip the layer's gradients if asked to, step its optimizer, and free the gradients."""
        optimizer = self.by_layer.get(name)
        if optimizer is None:
            return
        if self.config.clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters[name], self.config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Every layer's optimizer state."""
        return {name: optimizer.state_dict() for name, optimizer in self.by_layer.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name, optimizer in self.by_layer.items():
            optimizer.load_state_dict(state[name])


def _build(parameters: list[nn.Parameter], config: OptimizerConfig) -> Optimizer:
    decay = config.weight_decay
    if config.name == "sgd":
        return SGD(parameters, lr=config.lr, momentum=config.momentum, weight_decay=decay, fused=True)
    kind = Adam if config.name == "adam" else AdamW
    return kind(parameters, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=decay, fused=True)
