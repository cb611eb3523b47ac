"""Feedback alignment."""

from __future__ import annotations

from torch import Tensor

from localrules_feedback.feedback_weights import FeedbackOptions, FeedbackRule, draw_like


class FeedbackAlignment(FeedbackRule):
    """Back-propagation with fixed random weights on the way back: ``delta_l = (B_{l+1} delta_{l+1}) * phi'``.

    During training the forward weights align with the feedback weights, and the update with back-propagation's. The
    feedback weights are uniform around zero, however the forward ones are drawn.

    References:
        Lillicrap, Cownden, Tweed & Akerman 2016, Random synaptic feedback weights support error backpropagation for
        deep learning, https://doi.org/10.1038/ncomms13276. Convolutions as in Sanfiz & Akrout 2021,
        https://arxiv.org/abs/2108.13446.
    """

    info = FeedbackRule.info.replace(
        formula="backprop with fixed random B in place of W on the way back: delta_l = (B_{l+1} delta_{l+1}) phi'",
    )

    config: FeedbackOptions

    def draw(self, key: str, weight: Tensor) -> None:
        """One fixed feedback weight per forward weight."""
        self.register_buffer(key, draw_like(weight, self.config.init))

    def feedback(self, key: str, weight: Tensor) -> Tensor:
        """The same weights in every step."""
        return self.get_buffer(key)
