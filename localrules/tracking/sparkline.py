"""A curve of any length in a few characters."""

from __future__ import annotations

import math

_BARS = "▁▂▃▄▅▆▇█"


class Sparkline:
    """The course of a metric since it was first seen, in a fixed amount of memory.

    Values are averaged in buckets; when these are full, neighbours merge, so that the oldest and the newest value
    always fit.

    Args:
        width: Most characters that :meth:`bars` returns.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._each = 1
        self._buckets: list[tuple[float, int]] = []
        self.last: float | None = None

    def add(self, value: float) -> None:
        """Note a value; one that is not finite is shown as the last, but not drawn."""
        self.last = value
        if not math.isfinite(value):
            return
        if self._buckets and self._buckets[-1][1] < self._each:
            total, count = self._buckets[-1]
            self._buckets[-1] = (total + value, count + 1)
            return
        if len(self._buckets) == self._width:
            pairs = zip(self._buckets[::2], self._buckets[1::2], strict=True)
            self._buckets = [(a + b, m + n) for (a, m), (b, n) in pairs]
            self._each *= 2
        self._buckets.append((value, 1))

    def bars(self) -> str:
        """The curve from its lowest to its highest value, e.g. ``▇▅▄▂▂▁``."""
        means = [total / count for total, count in self._buckets]
        if not means:
            return ""
        low, span = min(means), max(means) - min(means)
        if span == 0:
            return _BARS[3] * len(means)
        return "".join(_BARS[round((mean - low) / span * (len(_BARS) - 1))] for mean in means)
