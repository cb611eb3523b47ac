"""One optimizer for each layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import SGD, Adam, AdamW, Optimizer

from localrules.config.schema import OptimizerConfig
from localrules.core.network import Network
from localrules.core.onednn_guard import guard
from localrules.core.rule import Rule
from localrules.engine import patterns
from localrules.engine.muon import MuonWithAdamW
from localrules.engine.optimizer_state import check_state
from localrules.errors import LocalRulesError, UsageError

MATRIX_DIMS = 2  # dimensions
SGD_MOMENTUM = 0.9  # ours


class LayerOptimizers:
    """Steps layers one by one; each parameter sits in exactly one optimizer.

    Args:
        owned: Every layer's parameters by layer name: its module's, then those of its auxiliary modules.
        config: The optimizer's settings, the same for all layers but for ``scale``.
        matrices: What :func:`matrix_parameter_ids` says of the network.

    Raises:
        LocalRulesError: Two layers share a parameter.
        UsageError: A scale for layers that there are not, or an optimizer that this torch has not.
    """

    def __init__(
        self,
        owned: Mapping[str, Iterable[nn.Parameter]],
        config: OptimizerConfig,
        matrices: frozenset[int] = frozenset(),
    ) -> None:
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
                self.by_layer[name] = build_optimizer(own, config, matrices)
        self._scales = _lr_scales(config.lr_scale, list(self._parameters))
        self.set_learning_rate(config.lr)

    @classmethod
    def from_config(cls, network: Network, rule: Rule, config: OptimizerConfig) -> LayerOptimizers:
        """Those of a network whose layers own what the rule gives them, too."""
        guard(rule)  # the network's own were found when it was wrapped
        owned = {layer.name: [*layer.parameters(), *rule.parameters_for(layer)] for layer in network.layers}
        return cls(owned, config, matrix_parameter_ids(network, rule))

    @property
    def learning_rate(self) -> float:
        """The present learning rate, of layers that have no scale of their own."""
        return self._rate

    def set_learning_rate(self, rate: float) -> None:
        """Use this learning rate from now on, times each layer's scale."""
        self._rate = rate
        for name, optimizer in self.by_layer.items():
            for group in optimizer.param_groups:
                group["lr"] = rate * self._scales[name]

    def step(self, name: str, scaler: GradScaler | None = None) -> bool:
        """Clip the layer's gradients if asked to, step its optimizer, and free the gradients.

        Args:
            name: Of the layer.
            scaler: What the loss was scaled by: it divides the gradients first, and leaves the step out where one is
                not finite.

        Returns:
            Whether the layer has an optimizer and gradients.
        """
        optimizer = self.by_layer.get(name)
        if optimizer is None:
            return False
        if scaler is not None:
            if all(parameter.grad is None for parameter in self._parameters[name]):
                return False
            scaler.unscale_(optimizer)
            _begin_momentum(optimizer)
        if self.config.grad_clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters[name], self.config.grad_clip_norm)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
        optimizer.zero_grad(set_to_none=True)
        return True

    def state_tensors(self, name: str) -> list[torch.Tensor]:
        """The tensors of a layer's optimizer state, such as its running averages."""
        states = [state for part in self._parts(name) for state in part.state.values()]
        return [value for state in states for value in state.values() if isinstance(value, torch.Tensor)]

    def forget_state(self, name: str) -> None:
        """Free a layer's optimizer state."""
        for part in self._parts(name):
            part.state.clear()

    def _parts(self, name: str) -> list[Optimizer]:
        optimizer = self.by_layer.get(name)
        if isinstance(optimizer, MuonWithAdamW):
            return optimizer.parts
        return [] if optimizer is None else [optimizer]

    def state_dict(self) -> dict[str, Any]:
        """Every layer's optimizer state."""
        return {name: optimizer.state_dict() for name, optimizer in self.by_layer.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave.

        Raises:
            LocalRulesError: State of another shape or type than its parameter: fused optimizers would not notice.
        """
        for name, optimizer in self.by_layer.items():
            if not isinstance(optimizer, MuonWithAdamW):  # that one checks its two parts
                check_state(optimizer, state[name])
            optimizer.load_state_dict(state[name])
            if self._scales[name]:
                self._rate = optimizer.param_groups[0]["lr"] / self._scales[name]


def _begin_momentum(optimizer: Optimizer) -> None:
    """Let SGD begin with zero momentum: where torch leaves a first step out, it keeps memory that nobody has set."""
    if not isinstance(optimizer, SGD):
        return
    for group in optimizer.param_groups:
        for parameter in group["params"] if group["momentum"] else ():
            if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def matrix_parameter_ids(network: Network, rule: Rule) -> frozenset[int]:
    """``id`` of every weight of a hidden layer with two or more dimensions; of no readout.

    Of a rule's parameters, only those that :meth:`Rule.weights_for` gives are among them.
    """
    weights = (weight for layer in network.hidden for weight in (*layer.parameters(), *rule.weights_for(layer)))
    return frozenset(id(weight) for weight in weights if weight.ndim >= MATRIX_DIMS)


def _lr_scales(asked: Mapping[str, float], layers: list[str]) -> dict[str, float]:
    """Each layer's multiple of the learning rate: that of the first pattern that fits, else 1."""
    given = list(asked)
    patterns.check_patterns_used(given, layers, "optimizer.lr_scale")
    fits = {name: patterns.first_match(given, name) for name in layers}
    if hidden := [pattern for place, pattern in enumerate(given) if place not in fits.values()]:
        raise UsageError(
            f"the scale of {hidden[0]!r} changes nothing",
            where="optimizer.lr_scale",
            why="the first pattern that fits a layer counts, and earlier ones fit all of its layers",
            fix="put it before them, or leave it out",
        )
    return {name: 1.0 if at is None else asked[given[at]] for name, at in fits.items()}


def build_optimizer(parameters: list[nn.Parameter], config: OptimizerConfig, matrices: frozenset[int]) -> Optimizer:
    """The optimizer of these parameters.

    Args:
        parameters: What it changes.
        config: Its kind and constants.
        matrices: From :func:`matrix_parameter_ids`, for Muon.
    """
    decay = config.weight_decay
    if config.name == "muon":
        return MuonWithAdamW(parameters, matrices, config)
    if config.name == "sgd":
        momentum = SGD_MOMENTUM if config.momentum is None else config.momentum
        return SGD(
            parameters, lr=config.lr, momentum=momentum, nesterov=config.nesterov, weight_decay=decay, fused=True
        )
    kind = Adam if config.name == "adam" else AdamW
    return kind(parameters, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=decay, fused=True)
