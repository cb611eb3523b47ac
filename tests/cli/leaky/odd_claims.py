"""Rules that do not learn, or not under all circumstances of the audit."""

from __future__ import annotations

import random

from torch import Tensor

from localrules import LayerView, Objective, RuleInfo


class Zero(Objective):
    """A rule with gradients of zero."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        return 0 * view.output.sum()


class FailsAt24(Objective):
    """A rule that fails on batches of 24."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        if len(view.output) == 24:
            raise RuntimeError("not with 24")
        return (view.output.mean(0) - 1).square().mean()


class Draws(Objective):
    """A rule whose random numbers the run does not seed."""

    info = RuleInfo(locality="local")

    def forward(self, view: LayerView) -> Tensor:
        return (view.output.mean(0) - 1).square().mean() * (1 + random.random())


RULES = {"zero": Zero, "fails-at-24": FailsAt24, "draws": Draws}
