"""Values that a search tries for an option."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias


@dataclass(frozen=True)
class SearchRange:
    """Numbers between two bounds.

    Attributes:
        low: The smallest.
        high: The largest.
        log: Whether numbers are drawn evenly by their logarithm.
        integer: Whether only whole numbers are drawn.

    Raises:
        ValueError: The bounds are not in order, ``log`` is asked for with a bound that is not positive, or ``integer``
            with one that is not whole.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a search between {self.low:g} and {self.high:g} has no range")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic search cannot begin at {self.low:g}")
        if self.integer and not (float(self.low).is_integer() and float(self.high).is_integer()):
            raise ValueError(f"a search of whole numbers needs whole bounds, not {self.low:g} and {self.high:g}")

    def sample(self, draws: Random) -> float | int:
        """A value, drawn evenly."""
        if self.log:
            value = math.exp(draws.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = draws.uniform(self.low, self.high)
        return round(value) if self.integer else value

    @property
    def ends(self) -> tuple[float | int, float | int]:
        """Both bounds, as values of the option."""
        return (int(self.low), int(self.high)) if self.integer else (self.low, self.high)


@dataclass(frozen=True)
class SearchChoice:
    """Some values.

    Attributes:
        values: All of them, two or more.

    Raises:
        ValueError: There are fewer than two.
    """

    values: Sequence[Any]

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise ValueError("a search among fewer than two values has nothing to choose")

    def sample(self, draws: Random) -> Any:
        """A value, drawn evenly."""
        return self.values[draws.randrange(len(self.values))]

    @property
    def ends(self) -> tuple[Any, ...]:
        """All values."""
        return tuple(self.values)


SearchValues: TypeAlias = SearchRange | SearchChoice

LR_FACTOR = 10.0
"""How far a search for the learning rate goes below and above the rule's own."""


def learning_rates(own: float) -> SearchRange:
    """The learning rates that a search should try, around the rule's own."""
    return SearchRange(own / LR_FACTOR, own * LR_FACTOR, log=True)
