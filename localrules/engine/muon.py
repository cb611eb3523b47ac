"""Muon, for weights that are matrices; Adam for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from localrules.config.schema import OptimizerConfig
from localrules.engine.optimizer_state import check_state

MOMENTUM = 0.95
"""Muon's, as its author has it."""


class MuonWithAdamW(Optimizer):
    """Steps hidden weights of two or more dimensions by :class:`torch.optim.Muon`, all other parameters by AdamW.

    A step of Muon has singular values of about one in place of the gradient's: directions in which little is asked for
    are followed as far as the few in which much is. A kernel counts as the matrix (outputs, all that an output reads).
    Steps are scaled to AdamW's usual length, so that a learning rate means the same for both but for ``muon_scale``.

    References:
        Jordan et al. 2024, Muon: an optimizer for hidden layers in neural networks,
        https://kellerjordan.github.io/posts/muon/; the scale: Liu et al. 2025, Muon is scalable for LLM training,
        https://arxiv.org/abs/2502.16982, section 2.2.

    Args:
        parameters: All of a layer's.
        matrices: ``id`` of every parameter that is a hidden layer's weight of two or more dimensions.
        config: The settings.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], matrices: frozenset[int], config: OptimizerConfig) -> None:
        own = list(parameters)
        super().__init__(own, {"lr": config.lr})
        self._scale = config.muon_scale
        momentum = MOMENTUM if config.momentum is None else config.momentum
        self._flat = [(weight, _as_matrix(weight.detach(), weight)) for weight in own if id(weight) in matrices]
        rest = [parameter for parameter in own if id(parameter) not in matrices]
        decay = config.weight_decay
        self._parts: dict[str, Optimizer] = {}
        if self._flat:
            flat = [matrix for _, matrix in self._flat]
            self._parts["muon"] = torch.optim.Muon(
                flat, lr=config.lr, momentum=momentum, weight_decay=decay, adjust_lr_fn="match_rms_adamw"
            )
        if rest:
            self._parts["adam"] = AdamW(
                rest, lr=config.lr, betas=config.betas, eps=config.eps, weight_decay=decay, fused=True
            )

    @property
    def parts(self) -> list[Optimizer]:
        """The optimizers of matrices and of all other parameters, where there are any."""
        return [*self._parts.values()]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Step every parameter that has a gradient."""
        for weight, matrix in self._flat:
            matrix.grad = None if weight.grad is None else _as_matrix(weight.grad, weight)
        for name, part in self._parts.items():
            for group in part.param_groups:
                group["lr"] = self.param_groups[0]["lr"] * (self._scale if name == "muon" else 1.0)
            part.step()
        for _, matrix in self._flat:
            matrix.grad = None

    def state_dict(self) -> dict[str, Any]:
        """The state of both, each parameter's under the name of its part and its place in it."""
        states = {name: part.state_dict() for name, part in self._parts.items()}
        return {
            "state": {(name, at): kept for name, state in states.items() for at, kept in state["state"].items()},
            "param_groups": {name: state["param_groups"] for name, state in states.items()},
            "lr": self.param_groups[0]["lr"],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name, part in self._parts.items():
            own = {at: kept for (of, at), kept in state_dict["state"].items() if of == name}
            state = {"state": own, "param_groups": state_dict["param_groups"][name]}
            check_state(part, state)
            part.load_state_dict(state)
        self.param_groups[0]["lr"] = state_dict.get("lr", self.param_groups[0]["lr"])


def _as_matrix(tensor: Tensor, weight: Tensor) -> Tensor:
    """Shape (outputs, the rest), in the order in which ``weight`` lies in memory: of the weight itself, a view."""
    if weight.ndim == 4 and not weight.is_contiguous():  # channels last
        tensor = tensor.movedim(1, -1)
    return tensor.flatten(1)
