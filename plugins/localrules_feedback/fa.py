"""Feedback alignment."""

from __future__ import annotations

from torch import Tensor

from localrules_feedback.feedback_weights import FeedbackOptions, FeedbackPaths, draw_like


class FeedbackAlignment(FeedbackPaths):
    """Back-propagation with fixed random weights on the way back: ``delta_l = (B_{l+1} delta_{l+1}) * phi'``.

    The forward weights come to align with the feedback weights, and the update with back-propagation's. The feedback
    weights are uniform around zero, whatever the forward ones are drawn as.

    References:
        Lillicrap, Cownden, Tweed & Akerman 2016, Random synaptic feedback weights support error backpropagation for
        deep learning, https://doi.org/10.1038/ncomms13276. Convolutions as in Sanfiz & Akrout 2021,
        https://arxiv.org/abs/2108.13446.
    """

    info = FeedbackPaths.info.replace(
        formula="backprop with fixed random B in place of W on the way back: delta_l = (B_{l+1} delta_{l+1}) phi'",
    )

    config: FeedbackOptions

    def draw(self, key: str, weight: Tensor) -> None:
        """One fixed weight for each forward one."""
        self.register_buffer(key, draw_like(weight, self.config.init))

    def feedback(self, key: str, weight: Tensor) -> Tensor:
        """The same in every step."""
        return self.get_buffer(key)
