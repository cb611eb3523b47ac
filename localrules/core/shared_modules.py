"""Modules without parameters that several layers hold, such as one ``nn.Dropout`` that a model uses everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from localrules.core.layer import Layer


class FollowLayerMode:
    """A hook: before a layer runs, the modules that it shares with other layers take its mode.

    A frozen layer runs in eval mode beside layers that learn; what both hold can have one mode at a time only.

    Args:
        shared: The modules.
        own: Those that the layer does not share, whose mode is the layer's.
    """

    def __init__(self, shared: Sequence[nn.Module], own: Sequence[nn.Module]) -> None:
        self._shared, self._own = tuple(shared), tuple(own)

    def __call__(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Called by torch before the layer's forward."""
        training = any(one.training for one in self._own)
        for shared in self._shared:
            if shared.training != training:
                shared.train(training)


def let_shared_modules_follow(layers: Sequence[Layer]) -> None:
    """Register :class:`FollowLayerMode` with each layer that shares a module without parameters with another."""
    holders: dict[nn.Module, list[Layer]] = {}
    for layer in layers:
        for module in layer.module.modules():
            if module is not layer.module and not any(True for _ in module.parameters()):
                holders.setdefault(module, []).append(layer)
    for layer in layers:
        shared = [module for module, owners in holders.items() if len(owners) > 1 and layer in owners]
        hooks = layer.module._forward_pre_hooks.values()
        if shared and not any(isinstance(hook, FollowLayerMode) for hook in hooks):
            # A part that a network was cut into is not among the network's modules: those with parameters in it are.
            own = [module for module in layer.module.modules() if any(True for _ in module.parameters(recurse=False))]
            layer.module.register_forward_pre_hook(FollowLayerMode(shared, own))
