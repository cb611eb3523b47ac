"""A clock for what shows times."""

from __future__ import annotations


class Clock:
    """Time that moves when told."""

    now = 0.0

    def __call__(self) -> float:
        """The seconds at present."""
        return self.now
