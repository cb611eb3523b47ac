"""Messages to the first layer that come late, by a cache of the process, or only with soft targets."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from localrules import Layer, LayerView, Objective, Requirements, RuleConfig, RuleInfo

SHARED: dict[str, list[Tensor]] = {}
DELAY = 6


class Message(Objective):
    """Outputs should have mean one; what the third layer gives is kept for the first one."""

    info = RuleInfo(locality="local", requires=Requirements(targets="probabilities"))
    sent: Tensor

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        if layer.index == 0:
            SHARED["sent"] = []

    def forward(self, view: LayerView) -> Tensor:
        if self.layer.index == 2:
            SHARED["sent"].append(view.output.detach().mean())
        own = (view.output.mean(0) - 1).square().mean()
        return own * self.heard(view) if self.layer.index == 0 else own

    def heard(self, view: LayerView) -> Tensor | float:
        """A message from the third layer, for the first one."""
        raise NotImplementedError


class Late(Message):
    """The message takes six steps."""

    def heard(self, view: LayerView) -> Tensor | float:
        """The message of that step."""
        return SHARED["sent"][-DELAY] if len(SHARED["sent"]) >= DELAY else 1.0


class LateLabels(Objective):
    """Labels matter six steps later."""

    info = RuleInfo(locality="local")

    def __init__(self, config: RuleConfig, layer: Layer, num_classes: int) -> None:
        super().__init__(config, layer, num_classes)
        self.seen: list[Tensor] = []

    def forward(self, view: LayerView) -> Tensor:
        self.seen.append(view.labels.float().std())
        own = (view.output.mean(0) - 1).square().mean()
        return own * (1 + self.seen[-DELAY]) if len(self.seen) >= DELAY else own


@cache
def message_of(step: int) -> Tensor:
    """The message before a step, as the first training of the process has it."""
    return SHARED["sent"][step - 1]


class Cached(Message):
    """All trainings of the process hear the message of the first one."""

    def heard(self, view: LayerView) -> Tensor | float:
        """The message of the step before, in the first training of the process."""
        step = len(SHARED["sent"])
        return message_of(step) if step else 1.0


class OfMixedTargets(Message):
    """The message is heard where targets are soft."""

    def heard(self, view: LayerView) -> Tensor | float:
        """The message of the step before."""
        soft = view.targets.is_floating_point() and bool((view.targets.max(1).values < 1).any())
        return SHARED["sent"][-1] if soft and SHARED["sent"] else torch.ones(())


RULES = {"late": Late, "late-labels": LateLabels, "cached": Cached, "of-mixed-targets": OfMixedTargets}
