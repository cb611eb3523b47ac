"""Axes of charts: from values to positions, and the values that are written beside them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_TICKS = 5
_PADDING = 0.05  # of the range, at either end


@dataclass(frozen=True)
class Axis:
    """One axis of a chart.

    Attributes:
        label: What it measures, with its unit.
        log: Whether it is logarithmic; values that are not positive are left out.
        percent: Whether values are fractions, written in percent.
        integer: Whether only whole numbers are written.
        low: Where it begins; below the least value if ``None``.
        high: Where it ends; above the largest value if ``None``.
    """

    label: str = ""
    log: bool = False
    percent: bool = False
    integer: bool = False
    low: float | None = None
    high: float | None = None

    def usable(self, value: float | None) -> bool:
        """Whether a value has a position on it."""
        return value is not None and math.isfinite(value) and (value > 0 or not self.log)

    def format(self, value: float, step: float | None = None) -> str:
        """A value as it is written beside the axis.

        Args:
            value: The value.
            step: The distance of ticks, which their texts have to tell apart.
        """
        unit, size = (" %", 100.0) if self.percent else ("", 1.0)
        if step is not None and abs(size * value) < 1e6 and (size * step >= 1e-3 or abs(value) >= 100 * step):
            places = next((places for places in range(12) if _is_whole(size * step * 10**places)), 12)
            return f"{size * value:,.{places}f}{unit}"
        return f"{size * value:.3g}{unit}" if self.percent else _plain(value)


@dataclass(frozen=True)
class Scale:
    """An axis with its range and its place in a chart.

    Attributes:
        axis: The axis.
        low, high: The values at its ends.
        start, stop: The positions of these.
    """

    axis: Axis
    low: float
    high: float
    start: float
    stop: float

    @classmethod
    def fit(cls, axis: Axis, values: Iterable[float], start: float, stop: float) -> Scale:
        """The scale on which all usable values are seen."""
        found = [value for value in values if axis.usable(value)]
        low, high = (min(found), max(found)) if found else (1.0, 10.0) if axis.log else (0.0, 1.0)
        if axis.log:
            space = (high / low) ** _PADDING if high > low else 2.0
            low, high = low / space, high * space
        else:
            space = _PADDING * (high - low) if high > low else max(abs(high) * _PADDING, 0.5 if axis.integer else 0.01)
            # Nothing that is measured as a count or a fraction goes below 0, so neither does its axis.
            low, high = (0.0 if 0 <= low < 3 * space else low - space), high + space
            if axis.percent and max(found, default=0.0) <= 1:
                high = min(high, 1.0)
        return cls(axis, low if axis.low is None else axis.low, high if axis.high is None else axis.high, start, stop)

    def __call__(self, value: float) -> float:
        """The position of a value; values beyond the ends are held at them."""
        value = min(max(value, self.low), self.high)
        if self.axis.log:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return self.start + part * (self.stop - self.start)

    def ticks(self, count: int = _TICKS) -> list[tuple[float, str]]:
        """Round values with their texts, about so many."""
        values = _log_ticks(self.low, self.high) if self.axis.log else []
        is_linear = len(values) < 2
        if is_linear:
            values = _linear_ticks(self.low, self.high, count, integer=self.axis.integer)
        values = values[:: max(1, math.ceil(len(values) / (count + 2)))]
        step = values[1] - values[0] if is_linear and len(values) > 1 else None
        return [(value, self.axis.format(value, step)) for value in values]


def _linear_ticks(low: float, high: float, count: int, *, integer: bool) -> list[float]:
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    if integer:
        step = max(1.0, float(round(step)))
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; also their double and fivefold where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 2, 5)):
        found = [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]
        if len(found) > 2:
            break
    return found


def _is_whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6 * max(1.0, abs(value))


def _plain(value: float) -> str:
    size = abs(value)
    if size >= 1e6 or 0 < size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}"
