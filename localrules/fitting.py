"""Which networks a rule can train, found out by building them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from localrules.core.network import Network
from localrules.engine.building import options_of
from localrules.errors import LocalRulesError

if TYPE_CHECKING:
    from localrules.core.options import Configured
    from localrules.plugins import Registry

SHAPE, CLASSES = (1, 48, 48), 7  # the size of the project's faces


def fitting_models(rule: type[Configured], registry: Registry) -> list[dict[str, Any]]:
    """Try a rule's requirements on every installed network, with the options of the network that suit the rule.

    Networks are built for grey pictures of 48 x 48, without memory for their weights where they allow it.

    Args:
        rule: The rule's class.
        registry: Where networks are looked up.

    Returns:
        ``name, fits, why`` for each; ``why`` says what stands against it, or that it could not be tried.
    """
    found = []
    for item in registry.entries("model"):
        try:
            why = _misfit(rule, item.entry.name, registry)
        except LocalRulesError as error:
            why = error.what
        found.append({"name": item.entry.name, "fits": not why, "why": why})
    return found


def _misfit(rule: type[Configured], name: str, registry: Registry) -> str:
    kind = registry.resolve("model", name)
    suits = {key: value for key, value in rule.model_defaults.items() if key in kind.Config.model_fields}
    options = options_of(kind.Config, suits, "model")

    def built(device: str) -> Network:
        with torch.device(device):
            return Network.wrap(kind(options, SHAPE, CLASSES), example=torch.zeros(2, *SHAPE))

    try:
        network = built("meta")
    except (RuntimeError, NotImplementedError):  # it asks for values, which tensors without memory do not have
        network = built("cpu")
    return rule.requires.misfit(network)
