"""Feedback weights that learn the forward weights from noise."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from localrules import Operation, SearchRange
from localrules.utils.torch_utils import at_least_float32
from localrules_feedback.feedback_weights import FeedbackOptions, FeedbackRule, draw_like


class WeightMirror(FeedbackRule):
    """Back-propagation through feedback weights ``B`` that learn from noise: ``B += rate (y x^T - B)``.

    Before each step, every operation receives standard normal noise ``x`` and computes ``y = W x``, without bias. Since
    ``E[y x^T] = W``, the correlation of its two ends is an estimate of its weights, and ``B`` is the running mean of
    such estimates over the steps. A convolution's estimate is a mean over positions too, and each tap counts those
    positions where it does not meet padding.

    The class of locality is the measured one: the feedback weights are a running copy of the forward ones, learned
    through these, so what a layer learns depends on the values of the weights above it.

    What differs: ``y`` is taken before the activation and without the bias; ``B`` decays at the rate at which it
    learns. As in the authors' code, each operation receives noise of its own.

    References:
        Akrout, Wilson, Humphreys, Lillicrap & Tweed 2019, Deep learning without weight transport,
        https://arxiv.org/abs/1904.05391; https://github.com/makrout/Deep-Learning-without-Weight-Transport.
    """

    class Config(FeedbackOptions):
        """Options of rule weight-mirror."""

        rate: float = Field(0.05, gt=0, le=1, description="Weight of a step's estimate in the running mean (ours).")
        samples: int = Field(
            64,
            ge=1,
            description="Samples of noise per step (ours); for feature maps divided by their positions, at most by 64, "
            "and rounded up, since each position counts.",
        )

    info = FeedbackRule.info.replace(
        search_space={"rate": SearchRange(0.005, 0.5, log=True)},
        formula="backprop with B in place of W on the way back; B += rate (y x' - B), x noise and y = W x",
        locality="backprop",  # by the audit: errors depend on the forward weights, whichever way these became known
    )

    config: WeightMirror.Config

    def draw(self, key: str, weight: Tensor) -> None:
        """Random feedback weights, before any noise has passed."""
        self.register_buffer(key, draw_like(weight, self.config.init))

    def feedback(self, key: str, weight: Tensor) -> Tensor:
        """The running mean as of this step."""
        return self.get_buffer(key)

    def replace(self, operation: Operation) -> Tensor:
        """Let noise pass through the operation, then run it."""
        feedback = self.get_buffer(operation.key)
        feedback.lerp_(self.estimate(operation).to(feedback.dtype), self.config.rate)
        return super().replace(operation)

    @torch.no_grad()
    def estimate(self, operation: Operation) -> Tensor:
        """The operation's weights as the correlation of noise before and behind them, shaped like these."""
        shape = operation.input.shape[1:]
        positions = 1 if operation.kind == "linear" else shape[1:].numel()
        samples = -(-self.config.samples // min(positions, 64))
        weight = at_least_float32(operation.weight.detach())
        with torch.autocast(weight.device.type, enabled=False):
            drawn = torch.randn(samples, *shape, dtype=weight.dtype, device=weight.device)
            noise = Operation(operation.kind, drawn, weight, None, operation.options)
            correlation = noise.weight_gradient(noise.run())
            if operation.kind == "linear":
                return correlation / noise.input[..., 0].numel()
            met = Operation(operation.kind, torch.ones_like(noise.input), weight, None, operation.options)
            return correlation / met.weight_gradient(torch.ones_like(met.run())).clamp(min=1)
