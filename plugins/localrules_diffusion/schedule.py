"""How noisy the label is at each step, and the way back from noise."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class CosineSchedule:
    """Noised labels ``z_t = sqrt(s_t) u + sqrt(1 - s_t) eps``, ``t`` from 0 (noise) to ``steps`` (nearly clean).

    ``s_t = cos(pi / 2 * (1 - t / steps + offset) / (1 + offset))^2``, after Nichol & Dhariwal 2021,
    https://arxiv.org/abs/2102.09672, whose time runs the other way.

    Attributes:
        steps: How many.
        offset: Keeps the last step from being quite clean.
    """

    steps: int
    offset: float = 0.008

    def signal(self, t: int) -> float:
        """``s_t``, the share of the label in the variance; exactly 0 at 0."""
        return math.cos(math.pi / 2 * (1 - t / self.steps + self.offset) / (1 + self.offset)) ** 2 if t else 0.0

    def ratio(self, t: int) -> float:
        """Signal to noise, ``s_t / (1 - s_t)``."""
        return self.signal(t) / (1 - self.signal(t))

    def towards(self, t: int) -> tuple[float, float, float]:
        """``a, b, c`` of ``q(z_t | z_{t-1}, u) = N(a u + b z_{t-1}, c)``; ``z_{t-1}`` is ``z_t`` noised further."""
        now, before = self.signal(t), self.signal(t - 1)
        kept = before / now  # of the variance of z_t, in z_{t-1}
        return (
            math.sqrt(now) * (1 - kept) / (1 - before),
            math.sqrt(kept) * (1 - now) / (1 - before),
            (1 - now) * (1 - kept) / (1 - before),
        )
