"""How much of the published training is done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from localrules.engine.settings import Tree
from localrules.errors import UsageError


@dataclass(frozen=True)
class Budget:
    """A run's length beside the published one.

    Attributes:
        length: Of our run.
        published: As it was published.
        unit: In which both are counted.
    """

    length: float
    published: float
    unit: Literal["epochs", "steps"]

    @classmethod
    def of(cls, name: str, settings: Tree, scale: float) -> Budget:
        """The budget of a row at a scale.

        Args:
            name: The row's, for the error.
            settings: The row's; their length is the published one.
            scale: The fraction to do.

        Raises:
            UsageError: The row has no length, or two.
        """
        given = [unit for unit in ("epochs", "steps") if settings.get(unit) is not None]
        if len(given) != 1:
            raise UsageError(
                f"row {name!r} does not say how long the published training was",
                why=f"it gives {' and '.join(given) or 'neither epochs nor steps'}",
                fix="its author gives one of epochs and steps in the row's settings",
            )
        if given[0] == "steps":
            return cls(max(1, round(scale * settings["steps"])), settings["steps"], "steps")
        return cls(scale * settings["epochs"], settings["epochs"], "epochs")

    @property
    def is_full(self) -> bool:
        """Whether nothing was saved."""
        return self.length >= self.published

    def __str__(self) -> str:
        return f"{self.length:g} of {self.published:g} {self.unit}"
