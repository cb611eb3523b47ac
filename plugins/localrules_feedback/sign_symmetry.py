"""Feedback weights that share only their signs with the forward ones."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from localrules import SearchChoice
from localrules_feedback.feedback_weights import FeedbackOptions, FeedbackRule, draw_like, init_std


class SignSymmetry(FeedbackRule):
    """Back-propagation with ``|M| * sign(W)`` in place of ``W`` on the way back.

    ``uniform``: all of ``M`` has one magnitude, the std of initial weights. ``batch-random``: ``M`` is drawn in every
    step as initial weights are. ``fixed-random``: it is drawn once.

    References:
        Liao, Leibo & Poggio 2016, How important is weight symmetry in backpropagation?,
        https://arxiv.org/abs/1510.05067 (uSF, brSF, frSF); magnitudes as in Sanfiz & Akrout 2021,
        https://arxiv.org/abs/2108.13446. Not included: the paper's updates by the gradient's sign alone.
    """

    class Config(FeedbackOptions):
        """Options of rule sign-symmetry."""

        kind: Literal["uniform", "batch-random", "fixed-random"] = Field(
            "uniform", description="Magnitudes of the feedback weights (the paper's uSF, brSF, frSF; default ours)."
        )

    info = FeedbackRule.info.replace(
        search_space={"kind": SearchChoice(("uniform", "batch-random", "fixed-random"))},
        formula="backprop with |M| sign(W) in place of W on the way back; M constant, redrawn or fixed",
    )

    config: SignSymmetry.Config

    def draw(self, key: str, weight: Tensor) -> None:
        """Magnitudes, where they are fixed and random."""
        if self.config.kind == "fixed-random":
            self.register_buffer(key, self._magnitudes(weight))

    def feedback(self, key: str, weight: Tensor) -> Tensor:
        """Magnitudes with the present signs of the weights."""
        signs = torch.sign(weight)
        if self.config.kind == "uniform":
            return signs.mul_(init_std(weight, self.config.init))
        return signs.mul_(self.get_buffer(key) if self.config.kind == "fixed-random" else self._magnitudes(weight))

    def _magnitudes(self, weight: Tensor) -> Tensor:
        return draw_like(weight, self.config.init).abs_()
