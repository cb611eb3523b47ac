"""The learning rate as a function of how far a phase is: no state, so a resumed run needs none."""

from __future__ import annotations

import math

from localrules.config.schema import ScheduleConfig


def learning_rate(config: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """The learning rate of one step of a phase.

    The warm-up climbs from ``start`` times the peak in equal steps, of which the last has the peak; the decay has the
    peak in its first step, and would have ``end`` times the peak in the step after its last one.

    Args:
        config: The schedule.
        peak: The highest learning rate.
        step: Counted from 0 in the phase.
        steps: Length of the phase.
    """
    if config.name == "constant":
        return peak
    if config.name == "steps":
        fallen = sum(step >= round(milestone * steps) for milestone in config.milestones)
        return float(peak * config.factor**fallen)
    warm = round(config.warmup * steps) if config.name == "one-cycle" else 0
    if step < warm:
        return peak * (config.start + (1 - config.start) * (step + 1) / warm)
    progress = (step - warm) / max(1, steps - warm)
    return peak * (config.end + (1 - config.end) * 0.5 * (1 + math.cos(math.pi * progress)))
