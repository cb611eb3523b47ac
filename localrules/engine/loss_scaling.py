"""Loss scaling: the gradients of a forward pass in fp16 are computed times a large factor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from localrules.core.layer import Layer
from localrules.engine.optimizers import LayerOptimizers
from localrules.errors import UsageError

SHARED = ""
"""The name of the scale of losses that train several layers."""

METRIC = "loss_scale"


class LossScaling:
    """The scales of the losses of a run in fp16.

    A number below 6e-8 is zero in fp16, as many gradients at a layer's output are. So a loss is multiplied by a scale
    before its backward pass, and the gradients of the parameters, which are float32, are divided by it. Where one is
    not finite, the step is left out and the scale halved; after 2000 steps in a row without that it is doubled (torch's
    own :class:`~torch.amp.GradScaler` and its defaults, which begin with 65536).

    A loss of one layer has a scale of its own, which does not depend on other layers. A loss that trains several has
    one scale, and a step is left out in those of the layers whose gradients are not finite.

    Args:
        device: Of the network.
        layers: Names of the layers.
    """

    def __init__(self, device: torch.device, layers: Iterable[str]) -> None:
        self._one = torch.ones((), device=device)
        self._scalers = {name: GradScaler(device.type) for name in (SHARED, *layers)}
        self._scale_of = dict.fromkeys(self._scalers, SHARED)
        self._used: set[str] = set()  # scales of losses in this step
        self._shared: set[str] = set()  # layers that were stepped by the shared scale in this step

    def backward(self, loss: Tensor, layer: Layer | None) -> None:
        """The backward pass of a loss times its scale.

        Args:
            loss: A scalar.
            layer: The layer that it trains, if it is one.
        """
        name = SHARED if layer is None else layer.name
        if layer is not None:
            self._scale_of[name] = name
        self._used.add(name)
        with torch.enable_grad():
            scaled = self._scalers[name].scale(loss)
        scaled.backward()

    def step(self, name: str, optimizers: LayerOptimizers) -> None:
        """Step a layer by its gradients divided by their scale, where these are finite."""
        key = self._scale_of[name]
        if key not in self._used or name in self._shared:
            raise UsageError(
                f"layer {name!r} cannot be stepped in fp16",
                where="--precision fp16",
                why="it is stepped twice by a loss of several layers"
                if name in self._shared
                else "its gradients do not come from context.backward, so their scale is not known",
                fix="declare RuleInfo(loss_scaling=True) only for a rule that calls context.backward for each of its "
                "losses, and then steps each layer once",
            )
        if not optimizers.step(name, self._scalers[key]):
            return
        if key == SHARED:
            self._shared.add(name)
        else:
            self._scalers[key].update()

    def finish_step(self) -> dict[str, Tensor]:
        """Adapt the scale that layers share, when all have been stepped.

        Returns:
            The scales of this step's losses, as metrics; they stay on the device.
        """
        if self._shared:
            self._scalers[SHARED].update()
        found = {
            f"{METRIC}/{name}" if name else METRIC: scaler.scale(self._one)
            for name, scaler in self._scalers.items()
            if name in self._used
        }
        self._used.clear()
        self._shared.clear()
        self._scale_of = dict.fromkeys(self._scalers, SHARED)
        return found

    def state_dict(self, names: Iterable[str] | None = None) -> dict[str, Any]:
        """The scales, as plain values: of these layers, or all."""
        return {name: self._scalers[name].state_dict() for name in (self._scalers if names is None else names)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        for name, scale in state.items():
            self._scalers[name].load_state_dict(scale)


def loss_scaling_of(precision: str, device: torch.device, layers: Iterable[Layer]) -> LossScaling | None:
    """The scales of a run, where its precision needs any.

    Raises:
        UsageError: Torch scales no losses on this device.
    """
    if precision != "fp16":
        return None
    if device.type not in ("cpu", "cuda"):
        raise UsageError(
            f"fp16 cannot be used on device {device.type!r}",
            where="--precision fp16",
            why="losses have to be scaled, which is done on CPUs and GPUs of Nvidia and AMD",
            fix="choose --precision bf16 or fp32",
        )
    return LossScaling(device, [layer.name for layer in layers])
